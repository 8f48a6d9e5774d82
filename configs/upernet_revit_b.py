# No segmentation results of ReViT are published: the recipe is mmseg's for Swin-T, the pyramid that of ViTDet. Weights:
# README.
_base_ = './_base_/upernet.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/revit_base.pth')
model = dict(
    backbone=dict(type='ReViT', arch='base', drop_path_rate=0.2, init_cfg=pretrained),
    neck=dict(type='SimpleFeaturePyramid', in_channels=768, num_outs=4),
    decode_head=dict(in_channels=[256, 256, 256, 256]),
    auxiliary_head=dict(in_channels=256))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'gate': dict(decay_mult=0.), 'pos_embed': dict(decay_mult=0.)}))
