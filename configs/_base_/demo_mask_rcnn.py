# Mask R-CNN on the 32 + 20 images in data/coco_mini, small images and a short schedule: it shows that
# everything works, from random weights, within minutes on two CPU cores. It is not a recipe.
_base_ = [
    './models/mask_rcnn.py', './datasets/coco_instance.py', './schedules/coco_1x.py', './mmdet_runtime.py'
]
data_root = 'data/coco_mini/'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(192, 128), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(192, 128), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    dataset=dict(
        data_root=data_root, ann_file='annotations/instances_train.json', data_prefix=dict(img='train/'),
        pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root, ann_file='annotations/instances_val.json', data_prefix=dict(img='val/'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator
model = dict(  # fewer proposals and a smaller mask head than the recipe's, for the time they take
    roi_head=dict(mask_head=dict(num_convs=2, conv_out_channels=128)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=500, max_per_img=100), rcnn=dict(sampler=dict(num=64))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=100), rcnn=dict(score_thr=0.02, max_per_img=20)))
train_cfg = dict(max_epochs=3, val_interval=3)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=10),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=0, end=3, by_epoch=True, convert_to_iter_based=True),
]
optim_wrapper = dict(optimizer=dict(lr=2e-4, fused=True), clip_grad=dict(max_norm=1.0))
default_hooks = dict(
    logger=dict(interval=2),
    checkpoint=dict(max_keep_ckpts=1),
    visualization=dict(score_thr=0.15))
log_processor = dict(window_size=8)
randomness = dict(seed=0)  # the same curve each time
