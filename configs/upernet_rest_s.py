# No segmentation results of ResTv1 are published: the recipe is mmseg's for Swin-T. Fetch the published
# ImageNet weights (README: "Weights") into the file named below, or train from nothing with --cfg-options
# model.backbone.init_cfg=None.
_base_ = './_base_/upernet.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/rest_small.pth')
model = dict(
    backbone=dict(type='ResT', arch='small', drop_path_rate=0.1, init_cfg=pretrained),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256))
