# Published: box AP 47.8, mask AP 42.6.
_base_ = ['./_base_/models/mask_rcnn.py', './_base_/datasets/coco_instance_multiscale.py',
          './_base_/schedules/coco_vitae_3x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://vitaev2_small')
model = dict(
    backbone=dict(type='ViTAEv2', arch='small', drop_path_rate=0.1, init_cfg=pretrained),
    neck=dict(in_channels=[64, 128, 256, 512]))
