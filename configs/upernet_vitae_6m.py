# No segmentation results of ViTAE are published: the recipe is that of ViTAEv2-S.
_base_ = './_base_/upernet.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/vitae_6m.pth')
model = dict(
    backbone=dict(type='ViTAE', arch='6m', drop_path_rate=0.2, init_cfg=pretrained),
    decode_head=dict(in_channels=[64, 64, 256], in_index=[0, 1, 2]),
    auxiliary_head=dict(in_channels=256))
