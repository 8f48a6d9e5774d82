# No detection results are published for this size. Images are normalized as in pretraining.
_base_ = ['./_base_/models/mask_rcnn.py', './_base_/datasets/coco_instance_rest.py',
          './_base_/schedules/coco_1x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://rest_lite')
model = dict(
    backbone=dict(type='ResT', arch='lite', drop_path_rate=0.1, init_cfg=pretrained),
    neck=dict(in_channels=[64, 128, 256, 512]))
