# No detection results are published for ReMViTv2. The recipe is mmdet's for Swin-T, with the drop path rate of the
# ImageNet recipe. Two images take about 30 GB of GPU memory; with_cp=True and --amp reduce it (docs/revit.md).
_base_ = ['./_base_/models/mask_rcnn.py', './_base_/datasets/coco_instance.py',
          './_base_/schedules/coco_remvitv2_1x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://remvitv2_tiny')
model = dict(
    backbone=dict(type='ReMViTv2', arch='tiny', drop_path_rate=0.1, init_cfg=pretrained),
    neck=dict(in_channels=[96, 192, 384, 768]))
