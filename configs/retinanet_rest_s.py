# Published: box AP 40.3.
_base_ = ['./_base_/models/retinanet_rest.py', './_base_/datasets/coco_detection_rest.py',
          './_base_/schedules/coco_rest_retinanet_1x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://rest_small')
model = dict(
    backbone=dict(arch='small', drop_path_rate=0.1, init_cfg=pretrained),
    neck=dict(in_channels=[128, 256, 512]))
