_base_ = '../_base_/demo_camvid.py'
model = dict(
    backbone=dict(type='ReSwin', arch='tiny', drop_path_rate=0.),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384))
