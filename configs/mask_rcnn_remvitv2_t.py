# No detection results of ReMViTv2 are published: the recipe is mmdet's for Swin-T. Two images need about 32 GB of GPU
# memory; with_cp=True and --amp need less (docs/revit.md). Weights: README.
_base_ = './_base_/mask_rcnn.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/remvitv2_tiny.pth')
model = dict(
    backbone=dict(_delete_=True, type='ReMViTv2', arch='tiny', drop_path_rate=0.1, init_cfg=pretrained),
    neck=dict(in_channels=[96, 192, 384, 768]))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'gate': dict(decay_mult=0.), 'rel_pos': dict(decay_mult=0.)}))
