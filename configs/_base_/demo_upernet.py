# UperNet on the 32 + 20 images in data/coco_mini with the masks derived from their instances, small images and
# a short schedule: it shows that everything works, from random weights, within minutes on two CPU cores. It is not a
# recipe.
_base_ = ['./models/upernet.py', './datasets/ade20k.py', './schedules/ade20k_160k.py', './mmseg_runtime.py']
norm_cfg = dict(type='BN', requires_grad=True)  # batch norms across processes need GPUs
data_root = 'data/coco_mini/'
crop_size = (96, 128)
metainfo = dict(
    classes=('background', 'person', 'vehicle', 'animal', 'other thing'),
    palette=[[0, 0, 0], [220, 20, 60], [0, 0, 230], [255, 180, 0], [120, 200, 120]])
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(213, 128), ratio_range=(0.8, 1.25), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.95),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(213, 128), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(int(213 * ratio), int(128 * ratio)), keep_ratio=True)
             for ratio in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)],
            [dict(type='RandomFlip', prob=prob) for prob in (0., 1.)],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ]),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    dataset=dict(
        _delete_=True, type='BaseSegDataset', data_root=data_root, metainfo=metainfo, pipeline=train_pipeline,
        data_prefix=dict(img_path='train', seg_map_path='semantic/train')))
val_dataloader = dict(
    num_workers=0,
    dataset=dict(
        _delete_=True, type='BaseSegDataset', data_root=data_root, metainfo=metainfo, pipeline=test_pipeline,
        data_prefix=dict(img_path='val', seg_map_path='semantic/val')))
test_dataloader = val_dataloader
model = dict(
    data_preprocessor=dict(size=crop_size),
    decode_head=dict(num_classes=5, channels=64, norm_cfg=norm_cfg),
    auxiliary_head=dict(num_classes=5, channels=64, norm_cfg=norm_cfg))
train_cfg = dict(max_iters=40, val_interval=40)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=5),
    dict(type='PolyLR', eta_min=0., power=1., begin=5, end=40, by_epoch=False),
]
optim_wrapper = dict(optimizer=dict(lr=3e-4))
default_hooks = dict(logger=dict(interval=4), checkpoint=dict(interval=20))
log_processor = dict(window_size=4)
