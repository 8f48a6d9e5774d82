# No detection results of ReViT are published: the recipe is mmdet's for Swin-T, the pyramid that of ViTDet. Blocks are
# recomputed, for memory (docs/revit.md). Weights: README.
_base_ = './_base_/mask_rcnn.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/revit_base.pth')
model = dict(
    backbone=dict(_delete_=True, type='ReViT', arch='base', drop_path_rate=0.2, with_cp=True, init_cfg=pretrained),
    neck=dict(_delete_=True, type='SimpleFeaturePyramid', in_channels=768))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'gate': dict(decay_mult=0.), 'pos_embed': dict(decay_mult=0.)}))
