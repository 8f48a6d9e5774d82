# Published: 81.5 % top-1, without code or weights. The window sizes are inferred from the number of parameters.
_base_ = ['./_base_/models/classifier_regionvit.py', './_base_/datasets/imagenet_regionvit.py',
          './_base_/schedules/imagenet_regionvit.py', './_base_/mmpretrain_runtime.py']
model = dict(
    backbone=dict(arch='tiny', window_size=(14, 14, 14, 7)),
    neck=dict(in_channels=512),
    head=dict(in_channels=512))
