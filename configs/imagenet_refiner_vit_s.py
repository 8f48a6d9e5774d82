# Published: 83.6 % top-1.
_base_ = ['./_base_/models/classifier_refiner_token_labels.py', './_base_/datasets/imagenet_token_labels.py',
          './_base_/schedules/imagenet_refiner.py', './_base_/mmpretrain_runtime.py']
model = dict(backbone=dict(arch='small', drop_path_rate=0.2), head=dict(in_channels=384))
