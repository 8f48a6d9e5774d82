# Published with ViTDet and MAE weights: box AP 51.6, mask AP 45.8; no results are published with the supervised weights
# from which this config starts. The recipe is that of ViTDet for ViT-B. Activation checkpointing saves memory.
_base_ = ['./_base_/models/vitdet.py', './_base_/datasets/coco_instance_lsj.py',
          './_base_/schedules/coco_vitdet_100e.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://vitae_base')
model = dict(
    backbone=dict(type='ViTAE', arch='base', drop_path_rate=0.1, with_cp=True, init_cfg=pretrained),
    neck=dict(in_channels=768))
