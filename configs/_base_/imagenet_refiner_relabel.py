# ImageNet-1k as Refiner-ViT is trained with token labels, one file per image in data/imagenet_labels, see
# docs/refiner.md. Images are flipped and augmented before they are cropped, since labels cover the whole image.
_base_ = './imagenet_refiner.py'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadTokenLabels', root='data/imagenet_labels/train', num_classes=1000),
    dict(
        type='TransformWithTokenLabels',
        transforms=[{{_base_.flip}}, {{_base_.augment}}, {{_base_.crop}}]),
    {{_base_.erase}},
    dict(type='PoolTokenLabels', num_classes=1000, grid_size=14),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(
    backbone=dict(mix_tokens=True),
    head=dict(
        dense=True, loss=dict(_delete_=True, type='CrossEntropyLoss', use_soft=True), map_loss=dict(num_pairs=12)))
