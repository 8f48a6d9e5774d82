# Published: 83.7 % top-1.
_base_ = './_base_/imagenet_restv2.py'
model = dict(
    backbone=dict(type='ResTv2', arch='base', out_indices=3, drop_path_rate=0.3), head=dict(in_channels=768))
