_base_ = '../_base_/demo_upernet.py'
model = dict(
    backbone=dict(type='RefinerViT', arch='small', drop_path_rate=0.),
    neck=dict(type='Feature2Pyramid', embed_dim=384, norm_cfg=dict(type='BN', requires_grad=True)),
    decode_head=dict(in_channels=[384, 384, 384, 384]),
    auxiliary_head=dict(in_channels=384))
