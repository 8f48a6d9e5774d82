# Published: 84.6 % top-1. Starts from weights at 224, which are not published:
# configs/imagenet_refiner_vit_s.py.
_base_ = './_base_/imagenet_refiner_384.py'
load_from = 'checkpoints/refiner_vit_small_224.pth'
model = dict(backbone=dict(arch='small', drop_path_rate=0.2), head=dict(in_channels=384))
