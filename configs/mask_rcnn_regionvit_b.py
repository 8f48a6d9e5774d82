# Published: box AP 43.5, mask AP 40.1.
# Fetch the published ImageNet weights (README: "Weights") into the file named below, or train from nothing with
# --cfg-options model.backbone.init_cfg=None.
_base_ = ['./_base_/mask_rcnn_regionvit.py', './_base_/coco_regionvit_1x.py']
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/regionvit_base.pth')
model = dict(
    backbone=dict(arch='base', init_cfg=pretrained),
    neck=dict(in_channels=[128, 256, 512, 1024]))
