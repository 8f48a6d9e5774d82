# No detection results are published for ReSwin. The recipe is Swin-T's for Cascade Mask R-CNN.
_base_ = ['./_base_/models/cascade_mask_rcnn.py', './_base_/datasets/coco_instance_multiscale.py',
          './_base_/schedules/coco_3x_warmup500.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://reswin_tiny')
model = dict(
    backbone=dict(type='ReSwin', arch='tiny', drop_path_rate=0.2, init_cfg=pretrained),
    neck=dict(in_channels=[96, 192, 384, 768]))
