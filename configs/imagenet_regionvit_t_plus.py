# Published: 81.5 % top-1; from the paper alone, windows inferred from its figures, no weights.
_base_ = './_base_/imagenet_regionvit.py'
model = dict(
    backbone=dict(arch='tiny', window_size=(14, 14, 14, 7)),
    neck=dict(in_channels=512),
    head=dict(in_channels=512))
