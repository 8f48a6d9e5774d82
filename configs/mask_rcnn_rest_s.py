# Published: box AP 39.6, mask AP 37.2. As in the published detector but not in pretraining, images are BGR and are not
# divided by the standard deviation.
_base_ = ['./_base_/models/mask_rcnn.py', './_base_/datasets/coco_instance_rest.py',
          './_base_/schedules/coco_1x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://rest_small')
model = dict(
    data_preprocessor=dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False),
    backbone=dict(type='ResT', arch='small', drop_path_rate=0.1, init_cfg=pretrained),
    neck=dict(in_channels=[64, 128, 256, 512]))
