# A classifier of 240 + 60 images of flowers in data/flowers_mini, for tests. Small images and a short schedule.
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
train_cfg = dict(max_epochs=6, val_interval=6)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=15),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=0, end=6, by_epoch=True, convert_to_iter_based=True),
]
optim_wrapper = dict(optimizer=dict(lr=5e-4, fused=True), clip_grad=dict(max_norm=5.0))
default_hooks = dict(logger=dict(interval=5), checkpoint=dict(max_keep_ckpts=1))
log_processor = dict(window_size=5)
randomness = dict(seed=0)  # for the same curve in each run
