# Published: 82.2 / 96.1 %, 87.5 % ReaL. 1024 images per update: 8 GPUs.
_base_ = './_base_/imagenet_vitae.py'
model = dict(
    backbone=dict(type='ViTAEv2', arch='small_window', out_indices=3, drop_path_rate=0.1),
    head=dict(in_channels=512))
