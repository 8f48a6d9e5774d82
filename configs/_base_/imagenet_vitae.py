# ImageNet-1k with the recipe of the ViTAE family: 1024 images per update, RandAugment m9 mstd0.5 of two operations,
# Mixup 0.8 or CutMix 1.0 (half each), random erasing 0.25, averaged weights, tested at 248 -> 224 (crop 0.9). The
# authors' color jitter has no effect next to RandAugment. 300 epochs of cosine and 10 more at its end.
_base_ = './imagenet.py'
model = dict(
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)], probs=[0.5, 0.5]))
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=248, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=128)
val_dataloader = dict(batch_size=128, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=310)
param_scheduler = [  # the cosine is counted from epoch 0; as the warm-up is multiplied to it, that differs by under 1 %
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=300, convert_to_iter_based=True),
]
# 0.99996 to the power of batch / 512
custom_hooks = [dict(type='EMAHook', momentum=8e-5, update_buffers=True, priority='ABOVE_NORMAL')]
auto_scale_lr = dict(base_batch_size=1024)
