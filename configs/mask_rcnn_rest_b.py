# Published: box AP 41.6, mask AP 38.7. As in the published detector but not in pretraining, images are BGR and are not
# divided by the standard deviation.
_base_ = ['./_base_/models/mask_rcnn.py', './_base_/datasets/coco_instance_rest.py',
          './_base_/schedules/coco_1x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://rest_base')
model = dict(
    data_preprocessor=dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False),
    backbone=dict(type='ResT', arch='base', drop_path_rate=0.2, init_cfg=pretrained),
    neck=dict(in_channels=[96, 192, 384, 768]))
