# Published: 84.5 % top-1. Starts from the published weights at 224 pixels, including the head.
_base_ = ['./_base_/models/classifier.py', './_base_/datasets/imagenet_restv2_384.py',
          './_base_/schedules/imagenet_restv2_384.py', './_base_/mmpretrain_runtime.py']
load_from = 'official://restv2_small'
model = dict(backbone=dict(type='ResTv2', arch='small', drop_path_rate=0.2), head=dict(in_channels=768))
