# RetinaNet on COCO 2017 as ResTv1 is trained, 1x: AdamW 1e-4, 8 GPUs x 2 images, short sides from 640 to 800, stages
# 2 to 4 and two levels more. The authors' 90,000 iterations with steps at 60,000 and 80,000 are 12 epochs with steps
# after 8 and 11 here. Input as in the published detectors, which unlike the pretraining read BGR and do not divide.
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['mmvit_backbones'])
model = dict(
    data_preprocessor=dict(mean=[103.53, 116.28, 123.675], std=[1., 1., 1.], bgr_to_rgb=False),
    neck=dict(start_level=0))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomChoiceResize', scales=[(1333, s) for s in range(640, 801, 32)], keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
# A resumed run seeds its workers again in each epoch.
train_dataloader = dict(persistent_workers=False, dataset=dict(pipeline=train_pipeline))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.))
