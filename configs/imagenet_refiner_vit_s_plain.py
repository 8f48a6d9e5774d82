# Trained without token labels. No accuracy is published.
_base_ = ['./_base_/models/classifier_refiner.py', './_base_/datasets/imagenet_refiner.py',
          './_base_/schedules/imagenet_refiner.py', './_base_/mmpretrain_runtime.py']
model = dict(backbone=dict(arch='small', drop_path_rate=0.1), head=dict(in_channels=384))
