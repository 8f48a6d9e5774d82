# Published: 82.6 % top-1.
_base_ = './_base_/imagenet_regionvit.py'
model = dict(
    backbone=dict(arch='small'),
    neck=dict(in_channels=768),
    head=dict(in_channels=768))
