# No segmentation results of ViTAE are published: the recipe is that of ViTAEv2-S.
_base_ = './_base_/upernet.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/vitae_huge.pth')
model = dict(
    backbone=dict(type='ViTAE', arch='huge', drop_path_rate=0.2, init_cfg=pretrained),
    neck=dict(type='SimpleFeaturePyramid', in_channels=1280, num_outs=4),
    decode_head=dict(in_channels=[256, 256, 256, 256]),
    auxiliary_head=dict(in_channels=256))
