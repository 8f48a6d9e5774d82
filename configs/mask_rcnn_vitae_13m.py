# No detection results are published for ViTAE. The recipe is taken from ViTAEv2-S, with weight decay 0.05. No weights
# are published, so train configs/imagenet_vitae_13m.py first.
_base_ = ['./_base_/models/mask_rcnn.py', './_base_/datasets/coco_instance_multiscale.py',
          './_base_/schedules/coco_vitae_1x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='work_dirs/imagenet_vitae_13m', prefix='backbone.')
model = dict(
    backbone=dict(type='ViTAE', arch='13m', drop_path_rate=0.1, init_cfg=pretrained),
    neck=dict(in_channels=[64, 64, 320]))
