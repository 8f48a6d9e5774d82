# Token labels, one file per image in data/imagenet_labels, see docs/refiner.md. Images are flipped and augmented before
# they are cropped, because labels cover the whole image.
_base_ = './imagenet_refiner.py'
train_pipeline = [
    _base_.train_pipeline[0],
    dict(type='LoadTokenLabels', root='data/imagenet_labels/train', num_classes=1000),
    dict(
        type='TransformWithTokenLabels',
        transforms=[_base_.train_pipeline[2], _base_.train_pipeline[3], _base_.train_pipeline[1]]),
    _base_.train_pipeline[4],
    dict(type='PoolTokenLabels', num_classes=1000, grid_size=14),
    _base_.train_pipeline[5],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
