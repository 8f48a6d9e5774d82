# Images of RegionViT's schedule of 90,000 iterations. For training and testing, they are stretched to 1120 x 672
# pixels, portrait images to 672 x 1120. To keep their aspect ratios, use --cfg-options
# train_dataloader.dataset.pipeline.2.keep_ratio=True val_dataloader.dataset.pipeline.1.keep_ratio=True
# test_dataloader.dataset.pipeline.1.keep_ratio=True.
_base_ = './coco_instance.py'
resize = dict(type='ResizeByOrientation', scale=(1120, 672))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    resize,
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    resize,
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(sampler=dict(type='InfiniteSampler'), dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
