# No results are published for this network on ADE20K. The recipe is taken from ViTAEv2-S. No weights are published, so
# train configs/imagenet_vitaev2_vsa_s_wide.py first.
_base_ = ['./_base_/models/upernet_vitaev2_vsa.py', './_base_/datasets/ade20k.py',
          './_base_/schedules/ade20k_160k_vitae.py', './_base_/mmseg_runtime.py']
pretrained = dict(
    type='Pretrained', checkpoint='work_dirs/imagenet_vitaev2_vsa_s_wide', prefix='backbone.')
model = dict(
    backbone=dict(arch='small_wide', init_cfg=pretrained),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256))
