# A classifier of 240 + 60 small images of flowers in data/flowers_mini, for tests.
_base_ = [
    '../../configs/_base_/models/classifier.py', '../../configs/_base_/datasets/imagenet.py',
    '../../configs/_base_/schedules/imagenet_300e.py', '../../configs/_base_/mmpretrain_runtime.py'
]
data_root = 'data/flowers_mini'
data_preprocessor = dict(num_classes=5)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=56, crop_ratio_range=(0.6, 1.0), interpolation='area'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=60, edge='short'),
    dict(type='CenterCrop', crop_size=56),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        _delete_=True, type='CustomDataset', data_root=data_root, data_prefix='train', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=20,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(_delete_=True, type='CustomDataset', data_root=data_root, data_prefix='val', pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1, ))
test_evaluator = val_evaluator
model = dict(
    backbone=dict(type='ReSwin', arch='tiny', drop_path_rate=0.), head=dict(in_channels=768, num_classes=5))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=300)]
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
