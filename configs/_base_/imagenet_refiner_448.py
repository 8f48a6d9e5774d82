# ImageNet-1k at 448 x 448 with token labels, as at 384. Tested as published (crop 1.13): the short side is resized to
# 396 pixels, and cropping adds a black border.
_base_ = './imagenet_refiner_384.py'
crop = dict(type='RandomResizedCrop', scale=448, backend='pillow', interpolation='bicubic')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadTokenLabels', root='data/imagenet_labels/train', num_classes=1000),
    dict(type='TransformWithTokenLabels', transforms=[{{_base_.flip}}, {{_base_.augment}}, crop]),
    {{_base_.erase}},
    dict(type='PoolTokenLabels', num_classes=1000, grid_size=28),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=396, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='NumpyToPIL', to_rgb=True),
    dict(type='torchvision/CenterCrop', size=448),
    dict(type='PILToNumpy', to_bgr=True),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
model = dict(backbone=dict(img_size=448))
