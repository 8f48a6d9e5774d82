_base_ = '../_base_/demo_mask_rcnn.py'
model = dict(
    backbone=dict(
        type='ViTAEv2VSA', arch='small', window_padding='center', offset_divisor='other_axis',
        drop_path_rate=0.),
    neck=dict(in_channels=[64, 128, 256, 512]))
