# Optimizer, schedule and data loaders of the fine-tuning recipes: AdamW at 5e-5, decayed by 0.9 per layer from the head
# to the stem, 5 % of the training as warm-up, then cosine decay. From random weights (--no-pretrained), rates are
# higher and equal in all layers. Without a GPU, the command sets float32 and no worker processes, because they would
# only compete for the cores.
optim_wrapper = dict(
    type='AmpOptimWrapper', loss_scale='dynamic',
    optimizer=dict(type='AdamW', lr=5e-5, weight_decay=0.05),
    constructor='LayerDecayConstructor',
    paramwise_cfg=dict(decay_rate=0.9, decay_type='layer_wise'),
    clip_grad=dict(max_norm=5.0))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0., by_epoch=True, begin=5, end=100, convert_to_iter_based=True),
]
train_dataloader = dict(
    num_workers=4, persistent_workers=False, sampler=dict(type='DefaultSampler', shuffle=True))
val_dataloader = dict(num_workers=4, persistent_workers=False, sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
random_weights = dict(optim_wrapper=dict(paramwise_cfg=dict(decay_rate=1.0)))
