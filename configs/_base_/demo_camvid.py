# UperNet on 60 + 10 street scenes of CamVid, small images and a short schedule: from random weights, it learns within
# minutes, on two CPU cores. It is not a recipe.
_base_ = './demo_upernet.py'
metainfo = dict(
    classes=('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car', 'pedestrian', 'bicyclist'),
    palette=[[135, 190, 235], [150, 60, 50], [240, 220, 60], [120, 90, 130], [230, 140, 220], [60, 140, 50],
             [255, 120, 0], [120, 110, 60], [30, 40, 200], [220, 20, 60], [0, 200, 200]])
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
    dict(type='LoadAnnotations'),  # after Resize: the ground truth keeps its size
    dict(type='PackSegInputs'),
]
dataset = dict(data_root='data/camvid_mini/', metainfo=metainfo)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **dataset))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **dataset))
test_dataloader = val_dataloader
model = dict(decode_head=dict(num_classes=11, dropout_ratio=0.), auxiliary_head=dict(num_classes=11, dropout_ratio=0.))
train_cfg = dict(max_iters=240, val_interval=240)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=20),
    dict(type='PolyLR', eta_min=0., power=1., begin=20, end=240, by_epoch=False),
]
optim_wrapper = dict(optimizer=dict(lr=1e-3, fused=True), clip_grad=dict(max_norm=5.0))
default_hooks = dict(checkpoint=dict(interval=240, save_optimizer=False))
