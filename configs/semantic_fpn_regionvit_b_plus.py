# Quoted by later papers: 47.5 mIoU with 77 M parameters; how it was trained is not known.
# Fetch the published ImageNet weights (README: "Weights") into the file named below, or train from nothing with
# --cfg-options model.backbone.init_cfg=None.
_base_ = './_base_/semantic_fpn_regionvit.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/regionvit_base.pth')
model = dict(
    backbone=dict(arch='base', window_size=14, init_cfg=pretrained),
    neck=dict(in_channels=[128, 256, 512, 1024]))
