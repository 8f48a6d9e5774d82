# Published: 83.8 / 96.6 %, 88.4 % ReaL. 1024 images per update: 16 GPUs on two machines with batch_size=64.
_base_ = './_base_/imagenet_vitae.py'
model = dict(
    backbone=dict(type='ViTAEv2', arch='48m', out_indices=3, drop_path_rate=0.25),
    head=dict(in_channels=768))
optim_wrapper = dict(optimizer=dict(weight_decay=0.055))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=2e-5, by_epoch=True, begin=0, end=300, convert_to_iter_based=True),
]
train_dataloader = dict(batch_size=64)
