# No segmentation results are published for ViTAE. The recipe is taken from ViTAEv2-S. No weights are published, so
# train configs/imagenet_vitae_13m.py first.
_base_ = ['./_base_/models/upernet_vitae.py', './_base_/datasets/ade20k.py',
          './_base_/schedules/ade20k_160k_vitae.py', './_base_/mmseg_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='work_dirs/imagenet_vitae_13m', prefix='backbone.')
model = dict(
    backbone=dict(arch='13m', init_cfg=pretrained),
    decode_head=dict(in_channels=[64, 64, 320]),
    auxiliary_head=dict(in_channels=320))
