# Published: 81.6 % top-1.
_base_ = './_base_/imagenet_rest.py'
model = dict(
    backbone=dict(type='ResT', arch='base', out_indices=3, drop_path_rate=0.2), head=dict(in_channels=768))
