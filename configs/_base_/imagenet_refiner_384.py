# ImageNet-1k at 384 x 384 with token labels: starts from weights at 224, whose positions are resized when they are
# loaded. How the authors fine-tuned is not known; this is a suggestion: 30 epochs at a constant rate.
_base_ = './imagenet_refiner_relabel.py'
crop = dict(type='RandomResizedCrop', scale=384, backend='pillow', interpolation='bicubic')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadTokenLabels', root='data/imagenet_labels/train', num_classes=1000),
    dict(type='TransformWithTokenLabels', transforms=[{{_base_.flip}}, {{_base_.augment}}, crop]),
    {{_base_.erase}},
    dict(type='PoolTokenLabels', num_classes=1000, grid_size=24),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=426, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=384),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
model = dict(backbone=dict(img_size=384))
optim_wrapper = dict(optimizer=dict(lr=5e-6, weight_decay=1e-8))
param_scheduler = [dict(type='ConstantLR', factor=1., by_epoch=True, begin=0, end=30)]
train_cfg = dict(max_epochs=30)
