# Published: box AP 46.7.
_base_ = ['./_base_/models/retinanet_regionvit.py', './_base_/datasets/coco_detection_regionvit_3x.py',
          './_base_/schedules/coco_regionvit_3x.py', './_base_/mmdet_runtime_by_iter.py']
pretrained = dict(type='Pretrained', checkpoint='official://regionvit_small')
model = dict(
    backbone=dict(arch='small', window_size=14, peg=True, init_cfg=pretrained),
    neck=dict(in_channels=[192, 384, 768]))
