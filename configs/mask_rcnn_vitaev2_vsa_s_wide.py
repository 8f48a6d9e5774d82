# No results are published for this size with Mask R-CNN at 1x. The recipe is taken from ViTAEv2-VSA-S. No weights are
# published, so train configs/imagenet_vitaev2_vsa_s_wide.py first.
_base_ = ['./_base_/models/mask_rcnn_vitaev2_vsa.py', './_base_/datasets/coco_instance_multiscale.py',
          './_base_/schedules/coco_vitae_1x.py', './_base_/mmdet_runtime.py']
pretrained = dict(
    type='Pretrained', checkpoint='work_dirs/imagenet_vitaev2_vsa_s_wide', prefix='backbone.')
model = dict(
    backbone=dict(arch='small_wide', drop_path_rate=0.1, init_cfg=pretrained),
    neck=dict(in_channels=[64, 128, 256, 512]))
