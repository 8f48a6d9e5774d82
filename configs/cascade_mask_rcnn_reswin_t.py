# No detection results of ReSwin are published: the recipe is that of Cascade Mask R-CNN with Swin-T. Weights: README.
_base_ = './_base_/cascade_mask_rcnn_multiscale_3x.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/reswin_tiny.pth')
model = dict(
    backbone=dict(_delete_=True, type='ReSwin', arch='tiny', drop_path_rate=0.2, init_cfg=pretrained),
    neck=dict(in_channels=[96, 192, 384, 768]))
