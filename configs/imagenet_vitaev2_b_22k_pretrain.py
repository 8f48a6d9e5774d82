# 1024 images per update: 32 GPUs x 32 images.
_base_ = './_base_/imagenet22k_pretrain.py'
train_dataloader = dict(batch_size=32)
model = dict(backbone=dict(type='ViTAEv2', arch='base'), head=dict(in_channels=1024))
