# No results are published for RetinaNet. The recipe is taken from Mask R-CNN, with weight decay 0.05.
_base_ = ['./_base_/models/retinanet.py', './_base_/datasets/coco_detection_multiscale.py',
          './_base_/schedules/coco_vitae_1x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://vitaev2_small')
model = dict(
    backbone=dict(type='ViTAEv2', arch='small', drop_path_rate=0.1, init_cfg=pretrained),
    neck=dict(in_channels=[64, 128, 256, 512]))
