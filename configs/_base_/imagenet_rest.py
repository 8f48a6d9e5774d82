# ImageNet-1k as ResTv1 is trained: 8 GPUs x 256 images (large: 240), learning rate 5e-4 per 512 images, Mixup or
# CutMix, repeated augmentation, images tested at 256 -> 224; train with --amp. The authors' color jitter of 0.4 is
# left out: it has no effect where RandAugment is used.
_base_ = './imagenet.py'
model = dict(train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]))
train_dataloader = dict(batch_size=256, sampler=dict(_delete_=True, type='RepeatAugSampler', shuffle=True))
val_dataloader = dict(batch_size=256)
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=2e-3), clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.002, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=4e-5, by_epoch=True, begin=5, end=300, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=2048)
