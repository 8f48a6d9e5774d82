# Published: 75.3 % top-1, 92.7 % top-5, 82.9 % ReaL. 8 GPUs x 64 images.
_base_ = ['./_base_/models/classifier_mixup_or_cutmix.py', './_base_/datasets/imagenet_vitae_bs64.py',
          './_base_/schedules/imagenet_vitae.py', './_base_/mmpretrain_runtime.py']
model = dict(backbone=dict(type='ViTAE', arch='tiny', out_indices=2, drop_path_rate=0.1), head=dict(in_channels=256))
