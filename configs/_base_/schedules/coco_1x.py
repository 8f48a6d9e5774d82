# 12 epochs, as in mmdet's configs for Swin-T: AdamW at 1e-4, 1000 iterations of warm-up, for 8 GPUs x 2 images.
_base_ = 'mmdet::_base_/schedules/schedule_1x.py'
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(
        custom_keys={
            'norm': dict(decay_mult=0.),
            'relative_position_bias_table': dict(decay_mult=0.),
            'rel_pos': dict(decay_mult=0.),
            'pos_embed': dict(decay_mult=0.),
            'class_token': dict(decay_mult=0.),
        }))
