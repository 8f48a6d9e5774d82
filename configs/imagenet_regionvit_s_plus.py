# Published: 83.3 % top-1; from the paper alone, windows inferred from its figures, no weights.
_base_ = './_base_/imagenet_regionvit.py'
model = dict(
    backbone=dict(arch='small', window_size=(14, 14, 14, 7)),
    neck=dict(in_channels=768),
    head=dict(in_channels=768))
