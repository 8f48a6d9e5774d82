# Published: 84.2 % top-1.
_base_ = './_base_/imagenet_restv2.py'
model = dict(
    backbone=dict(type='ResTv2', arch='large', out_indices=3, drop_path_rate=0.5), head=dict(in_channels=1024))
