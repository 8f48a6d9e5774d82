# COCO 2017 with boxes and DETR's augmentation.
_base_ = ['./coco_detection.py', './detr_augmentation.py']
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    _base_.multiscale_or_crop,
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
