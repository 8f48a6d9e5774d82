# No segmentation results are published for ViTAE. The recipe is taken from ViTAEv2-S.
_base_ = ['./_base_/models/upernet_vitae.py', './_base_/datasets/ade20k.py',
          './_base_/schedules/ade20k_160k_vitae.py', './_base_/mmseg_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://vitae_tiny')
model = dict(
    backbone=dict(arch='tiny', init_cfg=pretrained),
    decode_head=dict(in_channels=[64, 64, 256]),
    auxiliary_head=dict(in_channels=256))
