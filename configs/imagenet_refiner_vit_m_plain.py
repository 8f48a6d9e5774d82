# Trained without token labels. No accuracy is published. Tested with crop 1.0.
_base_ = ['./_base_/models/classifier_refiner.py', './_base_/datasets/imagenet_refiner.py',
          './_base_/schedules/imagenet_refiner.py', './_base_/mmpretrain_runtime.py']
test_pipeline = _base_.test_pipeline
test_pipeline[1]['scale'] = 224
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
model = dict(backbone=dict(arch='medium', drop_path_rate=0.2), head=dict(in_channels=420))
