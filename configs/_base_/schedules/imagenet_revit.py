# ReViT: 2 GPUs x 256 images x 16 accumulated steps = 8192 images per update, 30 epochs of warm-up, gradients clipped at
# 1. Learning rates are computed as in imagenet_reswin.py. The authors' config has Adam, whose weight decay of 0.3 would
# be coupled to the gradients, so AdamW is used here. The gate is a 1-D tensor and has no weight decay; the position
# embedding does.
_base_ = './imagenet_300e.py'
optim_wrapper = dict(
    type='AmpOptimWrapper', loss_scale='dynamic',
    optimizer=dict(weight_decay=0.3), accumulative_counts=16, clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1.6e-3, by_epoch=True, end=30, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=4.8e-6, by_epoch=True, begin=30, end=300, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=512)
