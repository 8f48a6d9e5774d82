# RegionViT: learning rate 5e-4 per 512 images, 8 GPUs x 128 images = 1024 per update; --auto-scale-lr adapts the
# learning rate to other batch sizes. The authors' script has 5 epochs of warm-up by default, and their command for
# several machines has 50. The 20 epochs here are those of a third party's run with 1024 images per update, which
# reached 80.504 % with the tiny network.
_base_ = './imagenet_300e.py'
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={  # norms with weight decay, because their weights are not 1-D in the authors' code
            'local_embed.norm1.weight': dict(decay_mult=1.),
            'local_embed.norm2.weight': dict(decay_mult=1.),
            'projection.norm.weight': dict(decay_mult=1.),
        }))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=20, end=300, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=1024)
