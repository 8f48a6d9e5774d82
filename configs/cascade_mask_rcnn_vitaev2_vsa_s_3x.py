# Published: box AP 51.9, mask AP 44.8.
_base_ = ['./_base_/models/cascade_mask_rcnn_vitaev2_vsa.py', './_base_/datasets/coco_instance_multiscale.py',
          './_base_/schedules/coco_vitae_3x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://vitaev2_vsa_small')
model = dict(
    backbone=dict(arch='small', drop_path_rate=0.25, init_cfg=pretrained),
    neck=dict(in_channels=[64, 128, 256, 512]))
