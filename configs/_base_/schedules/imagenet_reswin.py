# ReSwin: 2 GPUs x 256 images x 4 accumulated steps = 2048 images per update, 20 epochs of warm-up. The authors define
# learning rates per 512 images of a single step and multiply them by the number of accumulated steps. The learning
# rates here are the products for 2 GPUs.
_base_ = './imagenet_300e.py'
optim_wrapper = dict(
    type='AmpOptimWrapper', loss_scale='dynamic',
    accumulative_counts=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.04, by_epoch=True, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=4e-5, by_epoch=True, begin=20, end=300, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=512)
