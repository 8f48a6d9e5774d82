_base_ = '../_base_/demo_imagenet.py'
model = dict(backbone=dict(type='ResTv2', arch='tiny', drop_path_rate=0.), head=dict(in_channels=768))
