# No results are published with this recipe, which is ViTDet's for ViT-B. Activation checkpointing saves memory.
_base_ = ['./_base_/models/vitdet.py', './_base_/datasets/coco_instance_lsj.py',
          './_base_/schedules/coco_vitdet_100e.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://revit_base')
model = dict(
    backbone=dict(type='ReViT', arch='base', drop_path_rate=0.1, with_cp=True, init_cfg=pretrained),
    neck=dict(in_channels=768))
