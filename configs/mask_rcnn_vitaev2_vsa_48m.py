# Nothing is published for this size with Mask R-CNN at 1x: the recipe is that of ViTAEv2-VSA-S.
_base_ = './_base_/mask_rcnn_multiscale.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/vitaev2_vsa_48m.pth')
model = dict(
    backbone=dict(
        _delete_=True, type='ViTAEv2VSA', arch='48m', window_padding='center', offset_divisor='other_axis',
        drop_path_rate=0.25, init_cfg=pretrained),
    neck=dict(in_channels=[96, 192, 384, 768]))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'conv_branch.norms': dict(decay_mult=1.)}))
