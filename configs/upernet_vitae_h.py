# No segmentation results are published for ViTAE. The recipe is taken from ViTAEv2-S.
_base_ = ['./_base_/models/upernet_plain.py', './_base_/datasets/ade20k.py',
          './_base_/schedules/ade20k_160k_vitae.py', './_base_/mmseg_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://vitae_huge')
model = dict(
    backbone=dict(type='ViTAE', arch='huge', drop_path_rate=0.2, init_cfg=pretrained),
    neck=dict(in_channels=1280))
