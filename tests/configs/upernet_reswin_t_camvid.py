# UperNet on 60 + 10 street scenes of CamVid at small size, for tests.
_base_ = [
    '../../configs/_base_/models/upernet.py', '../../configs/_base_/datasets/ade20k.py',
    '../../configs/_base_/schedules/ade20k_160k.py', '../../configs/_base_/mmseg_runtime.py'
]
norm_cfg = dict(type='BN', requires_grad=True)  # synchronized batch norms require GPUs
data_root = 'data/camvid_mini/'
metainfo = dict(
    classes=('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car', 'pedestrian', 'bicyclist'))
scale = (128, 96)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale=scale),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale),
    dict(type='LoadAnnotations'),  # after Resize, so that the ground truth keeps its size
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(int(128 * ratio), int(96 * ratio))) for ratio in (0.75, 1.0, 1.25)],
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
        data_prefix=dict(img_path='images/train', seg_map_path='masks/train')))
val_dataloader = dict(
    num_workers=0,
    dataset=dict(
        _delete_=True, type='BaseSegDataset', data_root=data_root, metainfo=metainfo, pipeline=test_pipeline,
        data_prefix=dict(img_path='images/val', seg_map_path='masks/val')))
test_dataloader = val_dataloader
model = dict(
    data_preprocessor=dict(size=scale[::-1]),
    backbone=dict(type='ReSwin', arch='tiny', drop_path_rate=0.),
    decode_head=dict(
        in_channels=[96, 192, 384, 768], num_classes=11, channels=64, dropout_ratio=0., norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=384, num_classes=11, channels=64, dropout_ratio=0., norm_cfg=norm_cfg))
