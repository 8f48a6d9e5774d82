# The 1x recipe with larger images (dagger): stretched to 1344 x 896 pixels, portrait ones to 896 x 1344. Only the size
# is published; that they are stretched is taken from the recipe for smaller ones, coco_regionvit_1x.py, which tells how
# to keep their proportions instead.
_base_ = './coco_regionvit.py'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='ResizeByOrientation', scale=(1344, 896)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeByOrientation', scale=(1344, 896)),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
