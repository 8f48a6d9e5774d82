_base_ = '../_base_/demo_upernet.py'
model = dict(
    backbone=dict(type='ViTAE', arch='tiny', drop_path_rate=0.),
    decode_head=dict(in_channels=[64, 64, 256], in_index=[0, 1, 2]),
    auxiliary_head=dict(in_channels=256))
