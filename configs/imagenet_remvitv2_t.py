# Published: 82.7 % top-1. 2 GPUs x 256 images x 8 steps accumulated = 4096 images per update; train with --amp.
_base_ = './_base_/imagenet_revit_cutmix.py'
model = dict(backbone=dict(type='ReMViTv2', arch='tiny', out_indices=3, drop_path_rate=0.1), head=dict(in_channels=768))
optim_wrapper = dict(optimizer=dict(lr=2e-3), accumulative_counts=8)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.04, by_epoch=True, end=70, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=8e-5, by_epoch=True, begin=70, end=300, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=512)
