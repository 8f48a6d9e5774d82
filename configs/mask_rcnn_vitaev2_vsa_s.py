# Published: box AP 45.9, mask AP 41.4.
_base_ = ['./_base_/models/mask_rcnn_vitaev2_vsa.py', './_base_/datasets/coco_instance_multiscale.py',
          './_base_/schedules/coco_vitae_1x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://vitaev2_vsa_small')
model = dict(
    backbone=dict(arch='small', drop_path_rate=0.1, init_cfg=pretrained),
    neck=dict(in_channels=[64, 128, 256, 512]))
