# Published: 83.2 % top-1.
_base_ = ['./_base_/models/classifier_regionvit.py', './_base_/datasets/imagenet_regionvit.py',
          './_base_/schedules/imagenet_regionvit.py', './_base_/mmpretrain_runtime.py']
model = dict(backbone=dict(arch='base'), neck=dict(in_channels=1024), head=dict(in_channels=1024))
