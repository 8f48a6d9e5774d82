# Swin Transformer's recipe (arXiv 2103.14030, appendix A2.1), as in mmpretrain: 1024 images per update, gradients
# clipped at 5, 20 epochs of warm-up, no weight decay of bias tables.
_base_ = './imagenet_300e.py'
optim_wrapper = dict(
    type='AmpOptimWrapper', loss_scale='dynamic',
    clip_grad=dict(max_norm=5.),
    paramwise_cfg=dict(custom_keys={'relative_position_bias_table': dict(decay_mult=0.)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=20, end=300, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=1024)
