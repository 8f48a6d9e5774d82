# No segmentation results are published for ReViT. The recipe is mmseg's for Swin-T, with ViTDet's pyramid and
# the drop path rate of the ImageNet recipe.
_base_ = ['./_base_/models/upernet_plain.py', './_base_/datasets/ade20k.py',
          './_base_/schedules/ade20k_160k_revit.py', './_base_/mmseg_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://revit_base')
model = dict(
    backbone=dict(type='ReViT', arch='base', drop_path_rate=0.2, init_cfg=pretrained),
    neck=dict(in_channels=768))
