# No results are published for this size with Mask R-CNN at 1x. The recipe is taken from ViTAEv2-VSA-S, with the drop
# path rate of the ImageNet recipe. No weights are published, so train configs/imagenet_vitaev2_vsa_b.py first.
_base_ = ['./_base_/models/mask_rcnn_vitaev2_vsa.py', './_base_/datasets/coco_instance_multiscale.py',
          './_base_/schedules/coco_vitae_1x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='work_dirs/imagenet_vitaev2_vsa_b', prefix='backbone.')
model = dict(
    backbone=dict(arch='base', drop_path_rate=0.4, init_cfg=pretrained),
    neck=dict(in_channels=[128, 256, 512, 1024]))
