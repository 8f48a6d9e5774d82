# Published: 82.4 % top-1. 2 GPUs x 256 images x 16 steps accumulated = 8192 images per update; train with --amp.
# The authors' file says Adam, whose decay of 0.3 would be coupled to the gradients, and soft labels without Mixup,
# which cannot train: taken are AdamW, and Mixup with the settings that the file has next to the switch.
_base_ = './_base_/imagenet_revit_cutmix.py'
model = dict(backbone=dict(type='ReViT', arch='base', out_indices=0, drop_path_rate=0.2), head=dict(in_channels=768))
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.3), accumulative_counts=16)
param_scheduler = [
    dict(type='LinearLR', start_factor=1.6e-3, by_epoch=True, end=30, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=4.8e-6, by_epoch=True, begin=30, end=300, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=512)
