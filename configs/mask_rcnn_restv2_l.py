# No detection results of this size are published (3x, as the others). Fetch the published ImageNet weights
# (README: "Weights") into the file named below, or train from nothing with --cfg-options
# model.backbone.init_cfg=None.
_base_ = './_base_/mask_rcnn_restv2.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/restv2_large_224.pth')
model = dict(
    backbone=dict(_delete_=True, type='ResTv2', arch='large', drop_path_rate=0.5, init_cfg=pretrained),
    neck=dict(in_channels=[128, 256, 512, 1024]))
