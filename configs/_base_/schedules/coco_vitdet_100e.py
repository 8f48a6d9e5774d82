# ViTDet's schedule: 100 epochs with 64 images per update, AdamW at 1e-4, weight decay 0.1, layer-wise learning rate
# decay 0.7 as for ViT-B, 250 iterations of warm-up, steps after 8/9 and 26/27 of the training, mixed precision.
_base_ = 'mmdet::_base_/schedules/schedule_1x.py'
train_cfg = dict(max_epochs=100, val_interval=5)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=250),
    dict(type='MultiStepLR', begin=0, end=100, by_epoch=True, milestones=[89, 96], gamma=0.1),
]
optim_wrapper = dict(
    type='AmpOptimWrapper', loss_scale='dynamic',
    constructor='LayerDecayConstructor',
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1),
    paramwise_cfg=dict(decay_rate=0.7, decay_type='layer_wise'))
auto_scale_lr = dict(base_batch_size=64)
