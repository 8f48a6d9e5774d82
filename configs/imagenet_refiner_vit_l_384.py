# Published: 85.8 % top-1. Starts from weights at 224, which are not published: configs/imagenet_refiner_vit_l.py.
# Tested with crop 1.13: the short side is resized to 339 pixels, and cropping to 384 adds a black border.
_base_ = './_base_/imagenet_refiner_384.py'
load_from = 'checkpoints/refiner_vit_large_224.pth'
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=339, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='NumpyToPIL', to_rgb=True), dict(type='torchvision/CenterCrop', size=384),
    dict(type='PILToNumpy', to_bgr=True), dict(type='PackInputs')]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
model = dict(backbone=dict(arch='large', drop_path_rate=0.25), head=dict(in_channels=512))
