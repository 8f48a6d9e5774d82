# No detection results of ReSwin are published: the recipe is mmdet's for Swin-T. Fetch the published ImageNet weights
# (README: "Weights") into the file named below, or train from nothing with --cfg-options
# model.backbone.init_cfg=None.
_base_ = './_base_/mask_rcnn.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/reswin_tiny.pth')
model = dict(
    backbone=dict(_delete_=True, type='ReSwin', arch='tiny', drop_path_rate=0.2, init_cfg=pretrained),
    neck=dict(in_channels=[96, 192, 384, 768]))
