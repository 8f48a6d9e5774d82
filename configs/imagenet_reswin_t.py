# Published: 81.5 % top-1.
_base_ = ['./_base_/models/classifier_reswin.py', './_base_/datasets/imagenet_reswin.py',
          './_base_/schedules/imagenet_reswin.py', './_base_/mmpretrain_runtime.py']
model = dict(backbone=dict(type='ReSwin', arch='tiny', drop_path_rate=0.1), head=dict(in_channels=768))
