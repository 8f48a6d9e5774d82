# No results are published with this head. The recipe is mmdet's for ResNet-50.
_base_ = './_base_/dino_coco.py'
pretrained = dict(type='Pretrained', checkpoint='official://vitaev2_small')
model = dict(
    backbone=dict(type='ViTAEv2', arch='small', drop_path_rate=0.1, init_cfg=pretrained),
    neck=dict(in_channels=[128, 256, 512]))
