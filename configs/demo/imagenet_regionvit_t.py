_base_ = '../_base_/demo_imagenet.py'
model = dict(
    backbone=dict(type='RegionViT', arch='tiny', out_tokens='regional', drop_path_rate=0.),
    neck=dict(type='LayerNormPooling', order='norm_first', in_channels=512),
    head=dict(in_channels=512))
