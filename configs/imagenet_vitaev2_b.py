# Published: 84.6 / 96.9 %, 88.7 % ReaL. 1024 images per update: 32 GPUs on four machines with batch_size=32.
_base_ = './_base_/imagenet_vitae.py'
model = dict(
    backbone=dict(type='ViTAEv2', arch='base', out_indices=3, drop_path_rate=0.4, drop_rate=0.1),
    head=dict(in_channels=1024))
optim_wrapper = dict(optimizer=dict(weight_decay=0.065), clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=2e-5, by_epoch=True, begin=0, end=300, convert_to_iter_based=True),
]
train_dataloader = dict(batch_size=32)
