# No detection results of ViTAE are published: the recipe is that of ViTAEv2-S.
_base_ = './_base_/mask_rcnn_multiscale.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/vitae_tiny.pth')
model = dict(
    backbone=dict(_delete_=True, type='ViTAE', arch='tiny', drop_path_rate=0.1, init_cfg=pretrained),
    neck=dict(in_channels=[64, 64, 256]))
optim_wrapper = dict(
    optimizer=dict(weight_decay=0.05),
    paramwise_cfg=dict(custom_keys={'conv_branch.norms': dict(decay_mult=1.)}))
