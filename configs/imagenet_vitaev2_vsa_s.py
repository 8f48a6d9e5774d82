# Published: 82.7 % top-1. 8 GPUs x 128 images.
_base_ = ['./_base_/models/classifier_mixup_or_cutmix.py', './_base_/datasets/imagenet_vitae.py',
          './_base_/schedules/imagenet_vitaev2.py', './_base_/mmpretrain_runtime.py']
model = dict(backbone=dict(type='ViTAEv2VSA', arch='small', drop_path_rate=0.1), head=dict(in_channels=512))
