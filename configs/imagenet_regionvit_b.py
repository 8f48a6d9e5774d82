# Published: 83.2 % top-1.
_base_ = './_base_/imagenet_regionvit.py'
model = dict(
    backbone=dict(arch='base'),
    neck=dict(in_channels=1024),
    head=dict(in_channels=1024))
