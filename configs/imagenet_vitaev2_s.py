# Published: 82.6 / 96.2 % top-1 / top-5, 87.6 % ReaL. 1024 images per update: 8 GPUs.
_base_ = './_base_/imagenet_vitae.py'
model = dict(
    backbone=dict(type='ViTAEv2', arch='small', out_indices=3, drop_path_rate=0.1),
    head=dict(in_channels=512))
