# Published: 83.6 % top-1.
_base_ = './_base_/imagenet_refiner_relabel.py'
model = dict(backbone=dict(arch='small', drop_path_rate=0.2), head=dict(in_channels=384))
