# Published: box AP 43.5, mask AP 40.4.
# Fetch the published ImageNet weights (README: "Weights") into the file named below, or train from nothing with
# --cfg-options model.backbone.init_cfg=None.
_base_ = ['./_base_/mask_rcnn_regionvit.py', './_base_/coco_regionvit_1x.py']
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/regionvit_small.pth')
model = dict(
    backbone=dict(arch='small', window_size=14, init_cfg=pretrained),
    neck=dict(in_channels=[96, 192, 384, 768]))
