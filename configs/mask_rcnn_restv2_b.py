# Published: box AP 48.7, mask AP 43.9 (3x).
_base_ = ['./_base_/models/mask_rcnn.py', './_base_/datasets/coco_instance_restv2.py',
          './_base_/schedules/coco_restv2_3x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://restv2_base')
model = dict(
    backbone=dict(type='ResTv2', arch='base', drop_path_rate=0.3, init_cfg=pretrained),
    neck=dict(in_channels=[96, 192, 384, 768]))
