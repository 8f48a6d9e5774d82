# Without token labels; no accuracy is published.
_base_ = './_base_/imagenet_refiner.py'
model = dict(backbone=dict(arch='small', drop_path_rate=0.1), head=dict(in_channels=384))
