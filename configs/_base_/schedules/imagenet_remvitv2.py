# ReMViTv2: 2 GPUs x 256 images x 8 accumulated steps = 4096 images per update, 70 epochs of warm-up, gradients clipped
# at 1. Learning rates are computed as in imagenet_reswin.py. The gate is a 1-D tensor and has no weight decay; the
# relative position embeddings do.
_base_ = './imagenet_300e.py'
optim_wrapper = dict(
    type='AmpOptimWrapper', loss_scale='dynamic',
    optimizer=dict(lr=2e-3), accumulative_counts=8, clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.04, by_epoch=True, end=70, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=8e-5, by_epoch=True, begin=70, end=300, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=512)
