# Published: box AP 52.9, mask AP 45.6.
_base_ = ['./_base_/models/cascade_mask_rcnn_vitaev2_vsa.py', './_base_/datasets/coco_instance_multiscale.py',
          './_base_/schedules/coco_vitae_3x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://vitaev2_vsa_48m')
model = dict(
    backbone=dict(arch='48m', drop_path_rate=0.45, init_cfg=pretrained),
    neck=dict(in_channels=[96, 192, 384, 768]))
