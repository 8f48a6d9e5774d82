# Classification of the images of flowers with token labels, Mixup or CutMix, and patches mixed between images.
_base_ = './demo_imagenet.py'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadTokenLabels', root='work_dirs/flowers_labels', num_classes=5),
    dict(
        type='TransformWithTokenLabels',
        transforms=[
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='RandAugment', policies='timm_increasing', num_policies=1, magnitude_level=5),
            dict(type='RandomResizedCrop', scale=64, crop_ratio_range=(0.6, 1.0), interpolation='area'),
        ]),
    dict(type='PoolTokenLabels', num_classes=5, grid_size=4),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(
    backbone=dict(type='RefinerViT', out_indices=3, out_type='tokens', mix_tokens=True),
    neck=None,
    head=dict(
        _delete_=True, type='TokenLabelHead', num_classes=5,
        loss=dict(type='CrossEntropyLoss', use_soft=True), map_loss=dict(type='MapSimilarityLoss')),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)], probs=[0.5, 0.5]))
