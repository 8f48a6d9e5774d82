# Nothing is published for this size: the recipe is that of ViTAEv2-S, with the drop path of ImageNet.
_base_ = './_base_/mask_rcnn_multiscale.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/vitaev2_48m.pth')
model = dict(
    backbone=dict(_delete_=True, type='ViTAEv2', arch='48m', drop_path_rate=0.25, init_cfg=pretrained),
    neck=dict(in_channels=[96, 192, 384, 768]))
optim_wrapper = dict(
    optimizer=dict(weight_decay=0.05),
    paramwise_cfg=dict(custom_keys={'conv_branch.norms': dict(decay_mult=1.)}))
