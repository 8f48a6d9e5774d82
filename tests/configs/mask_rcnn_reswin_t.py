# Mask R-CNN on the large objects in 12 images of COCO, for tests.
_base_ = [
    '../../configs/_base_/models/mask_rcnn.py', '../../configs/_base_/datasets/coco_instance.py',
    '../../configs/_base_/schedules/coco_1x.py', '../../configs/_base_/mmdet_runtime.py'
]
data_root = 'data/coco_mini/'
metainfo = dict(classes=('person', 'vehicle', 'animal', 'food'))
norm_cfg = dict(type='GN', num_groups=16)
scale = (128, 128)  # batches have no padding, because the aspect ratio is not kept
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=scale, keep_ratio=False),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root, metainfo=metainfo, ann_file='annotations/large_train.json',
        data_prefix=dict(img='train/'), pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root, metainfo=metainfo, ann_file='annotations/large_val.json',
        data_prefix=dict(img='val/'), pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/large_val.json')
test_evaluator = val_evaluator
model = dict(  # smaller anchors for small images; fewer channels and proposals to save time
    backbone=dict(type='ReSwin', arch='tiny', drop_path_rate=0.),
    neck=dict(in_channels=[96, 192, 384, 768], out_channels=128, norm_cfg=norm_cfg),
    rpn_head=dict(in_channels=128, feat_channels=128, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=128),
        bbox_head=dict(in_channels=128, fc_out_channels=256, num_classes=4),
        mask_roi_extractor=dict(out_channels=128),
        mask_head=dict(in_channels=128, conv_out_channels=64, num_convs=2, num_classes=4, norm_cfg=norm_cfg)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=500, max_per_img=100), rcnn=dict(sampler=dict(num=32))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=100), rcnn=dict(score_thr=0.02, max_per_img=20)))
