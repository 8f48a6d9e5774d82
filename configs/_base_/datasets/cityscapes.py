# Cityscapes with crops of 512 x 1024 pixels, for 8 GPUs x 2 images.
_base_ = './ade20k.py'
data_root = 'data/cityscapes'
crop_size = (512, 1024)
train_pipeline, test_pipeline, tta_pipeline = _base_.train_pipeline, _base_.test_pipeline, _base_.tta_pipeline
train_pipeline[1] = test_pipeline[2] = dict(type='LoadAnnotations')
train_pipeline[2]['scale'] = test_pipeline[1]['scale'] = (2048, 1024)
train_pipeline[3]['crop_size'] = crop_size
tta_pipeline[1]['transforms'][0] = [
    dict(type='Resize', scale=(int(2048 * ratio), int(1024 * ratio)), keep_ratio=True)
    for ratio in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
]
train_dataloader = dict(
    dataset=dict(
        type='CityscapesDataset', data_root=data_root, pipeline=train_pipeline,
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train')))
val_dataloader = dict(
    dataset=dict(
        type='CityscapesDataset', data_root=data_root, pipeline=test_pipeline,
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val')))
test_dataloader = val_dataloader
