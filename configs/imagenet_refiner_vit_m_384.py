# Published: 85.6 % top-1. Starts from weights at 224, which are not published: configs/imagenet_refiner_vit_m.py.
# Tested without margin (crop 1.0).
_base_ = './_base_/imagenet_refiner_384.py'
load_from = 'checkpoints/refiner_vit_medium_224.pth'
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=384, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=384), dict(type='PackInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
model = dict(backbone=dict(arch='medium', drop_path_rate=0.25), head=dict(in_channels=420))
