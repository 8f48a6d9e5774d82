# Schedule of RegionViT's detectors: 90,000 iterations of 16 images (8 GPUs x 2), AdamW at 1e-4. Difference: biases of
# norms have no weight decay; the authors' weight decay is 1e-4 for all biases. As theirs, position biases are decayed.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.,
        bias_decay_mult=0.002,
        custom_keys={  # norms to which the authors apply weight decay
            'local_embed.norm1.weight': dict(decay_mult=1.),
            'local_embed.norm2.weight': dict(decay_mult=1.),
            'projection.norm.weight': dict(decay_mult=1.),
            **{f'backbone.norm{stage}.weight': dict(decay_mult=1.) for stage in range(4)},
        }))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=90000, milestones=[60000, 80000], gamma=0.1),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=90000, val_interval=10000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=16)
