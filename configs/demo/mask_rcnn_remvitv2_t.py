_base_ = '../_base_/demo_mask_rcnn.py'
model = dict(
    backbone=dict(type='ReMViTv2', arch='tiny', drop_path_rate=0.),
    neck=dict(in_channels=[96, 192, 384, 768]))
