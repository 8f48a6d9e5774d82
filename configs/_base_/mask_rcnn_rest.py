# Mask R-CNN as ResTv1 is trained, 1x: AdamW 1e-4, 8 GPUs x 2 images, short sides from 640 to 800. The authors' 90,000
# iterations with steps at 60,000 and 80,000 are 12 epochs with steps after 8 and 11 here.
_base_ = './mask_rcnn.py'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomChoiceResize', scales=[(1333, s) for s in range(640, 801, 32)], keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
