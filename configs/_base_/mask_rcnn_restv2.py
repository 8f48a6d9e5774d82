# Mask R-CNN as ResTv2 is trained, 3x: AdamW 1e-4, 8 GPUs x 2 images, a random crop of 0.9, short sides from 480 to 800,
# gradients of the whole model clipped at 0.01; train with --amp. The authors' 270,000 iterations with steps at 210,000
# and 250,000 are 36 epochs with steps after 28 and 33 here. The classifier's norm is loaded; theirs is not.
_base_ = './mask_rcnn.py'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomCrop', crop_type='relative', crop_size=(0.9, 0.9), allow_negative_crop=True),
    dict(type='RandomChoiceResize', scales=[(1333, s) for s in range(480, 801, 32)], keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
train_cfg = dict(max_epochs=36)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', begin=0, end=36, by_epoch=True, milestones=[28, 33], gamma=0.1),
]
optim_wrapper = dict(clip_grad=dict(max_norm=0.01))
