# Published: 79.6 % top-1.
_base_ = './_base_/imagenet_rest.py'
model = dict(
    backbone=dict(type='ResT', arch='small', out_indices=3, drop_path_rate=0.1), head=dict(in_channels=512))
