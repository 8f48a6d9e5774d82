# Semantic FPN for 80,000 iterations, as PVT (arXiv 2102.12122) trains it: AdamW at 1e-4, weight decay 1e-4, polynomial
# schedule with power 0.9, for 8 GPUs x 2 images.
_base_ = './ade20k_160k.py'
train_cfg = dict(max_iters=80000, val_interval=8000)
optim_wrapper = dict(optimizer=dict(lr=1e-4, weight_decay=1e-4))
param_scheduler = [dict(type='PolyLR', eta_min=0., power=0.9, begin=0, end=80000, by_epoch=False)]
default_hooks = dict(checkpoint=dict(interval=8000))
