# Fine-tuning Mask R-CNN on COCO annotations: `mmvit train NETWORK --coco-folder FOLDER`. The command sets the network,
# the classes, the number of epochs (fewer if there are many images) and the weights, and removes the mask head if
# objects have no outlines. Group norms in neck and head, which work with any batch size. No recipe is published; this
# one is ours.
_base_ = ['./models/mask_rcnn.py', './finetune.py', './mmdet_runtime.py']
norm_cfg = dict(type='GN', num_groups=32)
model = dict(
    neck=dict(norm_cfg=norm_cfg),
    roi_head=dict(mask_head=dict(conv_out_channels=128, norm_cfg=norm_cfg)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=1000, max_per_img=500), rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=500)))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),  # after Resize, so that the boxes keep their size
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    batch_size=2,
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(type='CocoDataset', filter_cfg=dict(filter_empty_gt=True), pipeline=train_pipeline))
val_dataloader = dict(batch_size=1, dataset=dict(type='CocoDataset', test_mode=True, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoMetric', ann_file='', metric=['bbox', 'segm'])
test_evaluator = val_evaluator
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=10))
auto_scale_lr = dict(base_batch_size=2)
random_weights = dict(optim_wrapper=dict(optimizer=dict(lr=5e-4)))
