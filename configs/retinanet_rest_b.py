# Published: box AP 42.0.
_base_ = ['./_base_/models/retinanet_rest.py', './_base_/datasets/coco_detection_rest.py',
          './_base_/schedules/coco_rest_retinanet_1x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://rest_base')
model = dict(
    backbone=dict(arch='base', drop_path_rate=0.2, init_cfg=pretrained),
    neck=dict(in_channels=[192, 384, 768]))
