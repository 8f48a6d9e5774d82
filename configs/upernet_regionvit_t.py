# No UperNet results are published for RegionViT. The recipe is mmseg's for Swin-T.
_base_ = ['./_base_/models/upernet_regionvit.py', './_base_/datasets/ade20k.py',
          './_base_/schedules/ade20k_160k.py', './_base_/mmseg_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://regionvit_tiny')
model = dict(
    backbone=dict(arch='tiny', init_cfg=pretrained),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256))
