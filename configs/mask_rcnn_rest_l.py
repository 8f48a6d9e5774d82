# No detection results of this size are published. Fetch the published ImageNet weights (README: "Weights")
# into the file named below, or train from nothing with --cfg-options model.backbone.init_cfg=None.
_base_ = './_base_/mask_rcnn_rest.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/rest_large.pth')
model = dict(
    backbone=dict(_delete_=True, type='ResT', arch='large', drop_path_rate=0.3, init_cfg=pretrained),
    neck=dict(in_channels=[96, 192, 384, 768]))
