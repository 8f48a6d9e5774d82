# Published: box AP 48.1, mask AP 43.3 (3x).
_base_ = ['./_base_/models/mask_rcnn.py', './_base_/datasets/coco_instance_restv2.py',
          './_base_/schedules/coco_restv2_3x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://restv2_small')
model = dict(
    backbone=dict(type='ResTv2', arch='small', drop_path_rate=0.2, init_cfg=pretrained),
    neck=dict(in_channels=[96, 192, 384, 768]))
