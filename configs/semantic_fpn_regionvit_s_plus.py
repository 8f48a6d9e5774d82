# Quoted by later papers: 45.3 mIoU with 35 M parameters; how it was trained is not known.
# Fetch the published ImageNet weights (README: "Weights") into the file named below, or train from nothing with
# --cfg-options model.backbone.init_cfg=None.
_base_ = './_base_/semantic_fpn_regionvit.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/regionvit_small.pth')
model = dict(
    backbone=dict(arch='small', window_size=14, init_cfg=pretrained),
    neck=dict(in_channels=[96, 192, 384, 768]))
