# No results are published for this size. The recipe is taken from ViTAEv2-S, with weight decay 0.05 and the drop path
# rate of the ImageNet recipe.
_base_ = ['./_base_/models/mask_rcnn.py', './_base_/datasets/coco_instance_multiscale.py',
          './_base_/schedules/coco_vitae_1x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://vitaev2_base')
model = dict(
    backbone=dict(type='ViTAEv2', arch='base', drop_path_rate=0.4, init_cfg=pretrained),
    neck=dict(in_channels=[128, 256, 512, 1024]))
