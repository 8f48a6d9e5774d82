# Refiner-ViT: 32 images per process. The authors did not scale their learning rate of 5e-4 by the number of processes,
# which is not published; here it is 8. Five epochs of warm-up from 1e-6, 300 epochs of cosine decay to 1e-5, and 10
# more epochs; weights are averaged. As in the authors' scripts, the learning rate changes once per epoch.
_base_ = './imagenet_300e.py'
optim_wrapper = dict(
    type='AmpOptimWrapper', loss_scale='dynamic',
    optimizer=dict(lr=5e-4),
    paramwise_cfg=dict(custom_keys={'class_token': dict(decay_mult=0.), 'positions': dict(decay_mult=0.)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=2e-3, by_epoch=True, begin=0, end=6),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=300),
]
train_cfg = dict(max_epochs=310)
custom_hooks = [dict(type='EMAHook', momentum=4e-5, update_buffers=True, priority='ABOVE_NORMAL')]
auto_scale_lr = dict(base_batch_size=256)
