# 90 epochs: AdamW at 1e-3 for 1024 images per update, 5 epochs of warm-up, then cosine decay. No recipe is published.
_base_ = './imagenet_300e.py'
optim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic', clip_grad=dict(max_norm=5.0))
train_cfg = dict(max_epochs=90)
val_cfg = None
test_cfg = None
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=5, end=90, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=1024)
