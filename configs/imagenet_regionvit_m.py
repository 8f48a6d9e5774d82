# Published: 83.1 % top-1.
_base_ = ['./_base_/models/classifier_regionvit.py', './_base_/datasets/imagenet_regionvit.py',
          './_base_/schedules/imagenet_regionvit.py', './_base_/mmpretrain_runtime.py']
model = dict(backbone=dict(arch='medium'), neck=dict(in_channels=768), head=dict(in_channels=768))
