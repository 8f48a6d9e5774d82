# Published: 79.6 % top-1.
_base_ = ['./_base_/models/classifier_mixup_or_cutmix.py', './_base_/datasets/imagenet_rest.py',
          './_base_/schedules/imagenet_rest.py', './_base_/mmpretrain_runtime.py']
model = dict(backbone=dict(type='ResT', out_norm='side', arch='small', drop_path_rate=0.1), head=dict(in_channels=512))
