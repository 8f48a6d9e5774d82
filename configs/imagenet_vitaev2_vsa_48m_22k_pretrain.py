# 1024 images per update: 16 GPUs x 64 images.
_base_ = './_base_/imagenet22k_pretrain.py'
model = dict(backbone=dict(type='ViTAEv2VSA', arch='48m'), head=dict(in_channels=768))
