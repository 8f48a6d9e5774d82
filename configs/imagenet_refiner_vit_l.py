# Published: 84.9 % top-1. Tested with crop 1.13: the short side is resized to 198 pixels, and cropping to 224 adds a
# black border.
_base_ = './_base_/imagenet_refiner_relabel.py'
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=198, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='NumpyToPIL', to_rgb=True), dict(type='torchvision/CenterCrop', size=224),
    dict(type='PILToNumpy', to_bgr=True), dict(type='PackInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
model = dict(backbone=dict(arch='large', drop_path_rate=0.25), head=dict(in_channels=512))
