# Published: 82.7 %.
# 8 GPUs x 128 images.
_base_ = './_base_/imagenet_vitae.py'
model = dict(
    backbone=dict(type='ViTAEv2VSA', arch='small', out_indices=3, drop_path_rate=0.1),
    head=dict(in_channels=512))
