# The drop path rate is the authors'. No result is published.
_base_ = ['./_base_/models/retinanet.py', './_base_/datasets/coco_detection_multiscale.py',
          './_base_/schedules/coco_vitae_1x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://vitaev2_vsa_small')
model = dict(
    backbone=dict(
        type='ViTAEv2VSA', arch='small', window_padding='center', offset_divisor='other_axis', drop_path_rate=0.15,
        init_cfg=pretrained),
    neck=dict(in_channels=[64, 128, 256, 512]))
