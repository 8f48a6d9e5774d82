# No detection results are published for ReViT. The recipe is mmdet's for Swin-T, with ViTDet's pyramid. Activation
# checkpointing saves memory (docs/revit.md).
_base_ = ['./_base_/models/mask_rcnn_plain.py', './_base_/datasets/coco_instance.py',
          './_base_/schedules/coco_revit_1x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://revit_base')
model = dict(
    backbone=dict(type='ReViT', arch='base', drop_path_rate=0.2, with_cp=True, init_cfg=pretrained),
    neck=dict(in_channels=768))
