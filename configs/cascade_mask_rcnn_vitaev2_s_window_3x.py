# Published: 48.0 / 41.3 box / mask AP. The batch norms of the convolutions are decayed, as published.
_base_ = './_base_/cascade_mask_rcnn_multiscale_3x.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/vitaev2_small_window.pth')
model = dict(
    backbone=dict(_delete_=True, type='ViTAEv2', arch='small_window', drop_path_rate=0.1, init_cfg=pretrained),
    neck=dict(in_channels=[64, 128, 256, 512]))
optim_wrapper = dict(
    optimizer=dict(weight_decay=0.05),
    paramwise_cfg=dict(custom_keys={'conv_branch.norms': dict(decay_mult=1.)}))
