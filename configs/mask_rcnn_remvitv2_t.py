# No detection results of ReMViTv2 are published: the recipe is mmdet's for Swin-T. Blocks are recomputed: two pictures
# take about MEMORY1 GB (docs/revit.md), with --amp half of that. Weights: README.
_base_ = './_base_/mask_rcnn.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/remvitv2_tiny.pth')
model = dict(
    backbone=dict(_delete_=True, type='ReMViTv2', arch='tiny', drop_path_rate=0.1, with_cp=True, init_cfg=pretrained),
    neck=dict(in_channels=[96, 192, 384, 768]))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'gate': dict(decay_mult=0.), 'rel_pos': dict(decay_mult=0.)}))
