# No segmentation results of ResTv1 are published: the recipe is mmseg's for Swin-T. Fetch the published
# ImageNet weights (README: "Weights") into the file named below, or train from nothing with --cfg-options
# model.backbone.init_cfg=None.
_base_ = './_base_/upernet.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/rest_large.pth')
model = dict(
    backbone=dict(type='ResT', arch='large', drop_path_rate=0.3, init_cfg=pretrained),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384))
