# No detection results are published for this size. The schedule is 3x, as for the other sizes.
_base_ = ['./_base_/models/mask_rcnn.py', './_base_/datasets/coco_instance_restv2.py',
          './_base_/schedules/coco_restv2_3x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://restv2_large')
model = dict(
    backbone=dict(type='ResTv2', arch='large', drop_path_rate=0.5, init_cfg=pretrained),
    neck=dict(in_channels=[128, 256, 512, 1024]))
