# No results are published for this size. The recipe is the same as for the other sizes.
_base_ = ['./_base_/models/mask_rcnn_regionvit.py', './_base_/datasets/coco_instance_regionvit_1x.py',
          './_base_/schedules/coco_regionvit_1x.py', './_base_/mmdet_runtime_by_iter.py']
pretrained = dict(type='Pretrained', checkpoint='official://regionvit_medium')
model = dict(
    backbone=dict(arch='medium', window_size=14, init_cfg=pretrained),
    neck=dict(in_channels=[96, 192, 384, 768]))
