# No segmentation results of ReMViTv2 are published: the recipe is mmseg's for Swin-T. Weights: README.
_base_ = './_base_/upernet.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/remvitv2_tiny.pth')
model = dict(
    backbone=dict(type='ReMViTv2', arch='tiny', drop_path_rate=0.1, init_cfg=pretrained),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'gate': dict(decay_mult=0.), 'rel_pos': dict(decay_mult=0.)}))
