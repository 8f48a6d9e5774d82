# The recipe of ViTAE-T's script: 512 images per update, mixed precision, weights averaged with a decay of 0.99996.
_base_ = './imagenet_vitaev2.py'
optim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic', optimizer=dict(weight_decay=0.03))
param_scheduler = _base_.param_scheduler
param_scheduler[1]['eta_min'] = 1e-5
custom_hooks = [dict(type='EMAHook', momentum=4e-5, update_buffers=True, priority='ABOVE_NORMAL')]
auto_scale_lr = dict(base_batch_size=512)
