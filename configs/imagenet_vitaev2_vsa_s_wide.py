# Nothing is published for this variant: the recipe is that of ViTAEv2-VSA-S.
# 8 GPUs x 128 images.
_base_ = './_base_/imagenet_vitae.py'
model = dict(
    backbone=dict(type='ViTAEv2VSA', arch='small_wide', out_indices=3, drop_path_rate=0.1),
    head=dict(in_channels=512))
