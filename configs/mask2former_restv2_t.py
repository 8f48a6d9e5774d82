# No results are published with this head. The recipe is mmdet's for Swin-T, except for the drop path rate.
_base_ = './_base_/mask2former_coco.py'
pretrained = dict(type='Pretrained', checkpoint='official://restv2_tiny')
model = dict(
    backbone=dict(type='ResTv2', arch='tiny', drop_path_rate=0.1, init_cfg=pretrained),
    panoptic_head=dict(in_channels=[96, 192, 384, 768]))
