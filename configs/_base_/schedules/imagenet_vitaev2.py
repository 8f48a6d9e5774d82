# The recipe of ViTAEv2 and VSA: 1024 images per update, averaged weights, 300 epochs of cosine decay and 10 more
# epochs at the last learning rate.
_base_ = './imagenet_300e.py'
optim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic')
train_cfg = dict(max_epochs=310)
# As published, the cosine starts at epoch 0. Here it is multiplied by the warm-up, which changes it by less than 1 %.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=300, convert_to_iter_based=True),
]
# The authors' decay is 0.99996 ** (images per update // 512) = 0.99996 ** 2.
custom_hooks = [dict(type='EMAHook', momentum=8e-5, update_buffers=True, priority='ABOVE_NORMAL')]
auto_scale_lr = dict(base_batch_size=1024)
