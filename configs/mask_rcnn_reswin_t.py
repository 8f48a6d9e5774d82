# No detection results are published for ReSwin. The recipe is mmdet's for Swin-T.
_base_ = ['./_base_/models/mask_rcnn.py', './_base_/datasets/coco_instance.py',
          './_base_/schedules/coco_1x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://reswin_tiny')
model = dict(
    backbone=dict(type='ReSwin', arch='tiny', drop_path_rate=0.2, init_cfg=pretrained),
    neck=dict(in_channels=[96, 192, 384, 768]))
