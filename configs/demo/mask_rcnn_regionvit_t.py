_base_ = '../_base_/demo_mask_rcnn.py'
model = dict(
    backbone=dict(type='RegionViT', arch='tiny', stage_norm=True, drop_path_rate=0.),
    neck=dict(in_channels=[64, 128, 256, 512]))
