# Published: 82.3 % top-1.
_base_ = ['./_base_/models/classifier_mixup_or_cutmix.py', './_base_/datasets/imagenet_restv2.py',
          './_base_/schedules/imagenet_restv2.py', './_base_/mmpretrain_runtime.py']
model = dict(backbone=dict(type='ResTv2', arch='tiny', drop_path_rate=0.1), head=dict(in_channels=768))
