# Published: box AP 48.7, mask AP 43.9 (3x). Fetch the published ImageNet weights (README: "Weights") into the
# file named below, or train from nothing with --cfg-options model.backbone.init_cfg=None.
_base_ = './_base_/mask_rcnn_restv2.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/restv2_base_224.pth')
model = dict(
    backbone=dict(_delete_=True, type='ResTv2', arch='base', drop_path_rate=0.3, init_cfg=pretrained),
    neck=dict(in_channels=[96, 192, 384, 768]))
