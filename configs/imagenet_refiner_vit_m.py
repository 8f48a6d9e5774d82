# Published: 84.6 % top-1. Tested without margin (crop 1.0).
_base_ = './_base_/imagenet_refiner_relabel.py'
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=224, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
model = dict(backbone=dict(arch='medium', drop_path_rate=0.25), head=dict(in_channels=420))
