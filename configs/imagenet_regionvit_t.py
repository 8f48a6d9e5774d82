# Published: 80.4 % top-1.
_base_ = './_base_/imagenet_regionvit.py'
model = dict(
    backbone=dict(arch='tiny'),
    neck=dict(in_channels=512),
    head=dict(in_channels=512))
