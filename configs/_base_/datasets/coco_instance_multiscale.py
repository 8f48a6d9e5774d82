# COCO 2017 with boxes, masks and DETR's augmentation.
_base_ = ['./coco_instance.py', './detr_augmentation.py']
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    _base_.multiscale_or_crop,
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
