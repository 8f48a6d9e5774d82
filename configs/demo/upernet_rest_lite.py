_base_ = '../_base_/demo_upernet.py'
model = dict(
    backbone=dict(type='ResT', arch='lite', drop_path_rate=0.),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256))
