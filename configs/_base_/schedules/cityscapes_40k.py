# 40,000 iterations on Cityscapes, for ViTAEv2 and VSA.
_base_ = './ade20k_160k_vitae.py'
train_cfg = dict(max_iters=40000, val_interval=4000)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0., power=1., begin=0, end=40000, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=4000))
