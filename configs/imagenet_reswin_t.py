# Published: 81.5 % top-1. 2 GPUs x 256 images x 4 steps accumulated = 2048 images per update; train with --amp.
_base_ = './_base_/imagenet_revit.py'
model = dict(backbone=dict(type='ReSwin', arch='tiny', out_indices=3, drop_path_rate=0.1), head=dict(in_channels=768))
optim_wrapper = dict(accumulative_counts=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.04, by_epoch=True, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=4e-5, by_epoch=True, begin=20, end=300, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=512)
