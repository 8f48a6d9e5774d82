# No results are published with this head. The recipe is mmdet's for Swin-T, except for the drop path rate.
_base_ = './_base_/mask2former_coco.py'
pretrained = dict(type='Pretrained', checkpoint='official://vitaev2_small')
model = dict(
    backbone=dict(type='ViTAEv2', arch='small', drop_path_rate=0.1, init_cfg=pretrained),
    panoptic_head=dict(in_channels=[64, 128, 256, 512]))
