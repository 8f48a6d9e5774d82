# Published: box AP 48.0, mask AP 41.3. No weights are published, so train configs/imagenet_vitaev2_s_window.py first.
_base_ = ['./_base_/models/cascade_mask_rcnn.py', './_base_/datasets/coco_instance_multiscale.py',
          './_base_/schedules/coco_vitae_3x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='work_dirs/imagenet_vitaev2_s_window', prefix='backbone.')
model = dict(
    backbone=dict(type='ViTAEv2', arch='small_window', drop_path_rate=0.1, init_cfg=pretrained),
    neck=dict(in_channels=[64, 128, 256, 512]))
