# Published: 86.0 % top-1, the one checkpoint that is published. Starts from weights at 224, which are not:
# configs/imagenet_refiner_vit_l.py.
_base_ = './_base_/imagenet_refiner_448.py'
load_from = 'checkpoints/refiner_vit_large_224.pth'
model = dict(backbone=dict(arch='large', drop_path_rate=0.25), head=dict(in_channels=512))
