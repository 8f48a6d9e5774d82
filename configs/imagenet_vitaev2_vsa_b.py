# Published is 86.2 % after pre-training on 22K alone; the recipe is that of ViTAEv2-B.
# 32 GPUs x 32 images.
_base_ = './_base_/imagenet_vitae.py'
model = dict(
    backbone=dict(type='ViTAEv2VSA', arch='base', out_indices=3, drop_path_rate=0.4),
    head=dict(in_channels=1024))
optim_wrapper = dict(optimizer=dict(weight_decay=0.065))
train_dataloader = dict(batch_size=32)
