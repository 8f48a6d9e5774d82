# ImageNet-1k with the recipe of Swin Transformer (arXiv 2103.14030, appendix A2.1), as mmpretrain has it: 1024 images
# per update, RandAugment m9 mstd0.5 of two operations, Mixup 0.8 or CutMix 1.0 (half each), random erasing 0.25,
# gradients clipped at 5, 20 epochs of warm-up, no weight decay on bias tables.
_base_ = './imagenet.py'
model = dict(
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)], probs=[0.5, 0.5]))
train_dataloader = dict(batch_size=128)
val_dataloader = dict(batch_size=128)
test_dataloader = dict(batch_size=128)
optim_wrapper = dict(
    clip_grad=dict(max_norm=5.),
    paramwise_cfg=dict(custom_keys={'relative_position_bias_table': dict(decay_mult=0.)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=20, end=300, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=1024)
