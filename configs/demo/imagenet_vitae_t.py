_base_ = '../_base_/demo_imagenet.py'
model = dict(
    backbone=dict(type='ViTAE', arch='tiny', out_indices=2, drop_path_rate=0.), head=dict(in_channels=256))
