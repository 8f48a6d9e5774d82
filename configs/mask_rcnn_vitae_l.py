# No detection results are published for ViTAE. The recipe is taken from ViTAEv2-S, with weight decay 0.05.
_base_ = ['./_base_/models/mask_rcnn_plain.py', './_base_/datasets/coco_instance_multiscale.py',
          './_base_/schedules/coco_vitae_1x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://vitae_large')
model = dict(
    backbone=dict(type='ViTAE', arch='large', drop_path_rate=0.1, init_cfg=pretrained),
    neck=dict(in_channels=1024))
