# Published: 82.0 % top-1, 95.9 % top-5, 87.0 % ReaL. 8 GPUs x 64 images. The authors' recipe is known only for ViTAE-T
# and is used here.
_base_ = ['./_base_/models/classifier_mixup_or_cutmix.py', './_base_/datasets/imagenet_vitae_bs64.py',
          './_base_/schedules/imagenet_vitae.py', './_base_/mmpretrain_runtime.py']
model = dict(backbone=dict(type='ViTAE', arch='small', out_indices=2, drop_path_rate=0.1), head=dict(in_channels=384))
