# No results are published for this network on ADE20K. The recipe is taken from ViTAEv2-S.
_base_ = ['./_base_/models/upernet_vitaev2_vsa.py', './_base_/datasets/ade20k.py',
          './_base_/schedules/ade20k_160k_vitae.py', './_base_/mmseg_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://vitaev2_vsa_small')
model = dict(
    backbone=dict(arch='small', init_cfg=pretrained),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256))
