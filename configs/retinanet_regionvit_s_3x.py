# Published: box AP 45.8.
# Fetch the published ImageNet weights (README: "Weights") into the file named below, or train from nothing with
# --cfg-options model.backbone.init_cfg=None.
_base_ = ['./_base_/retinanet_regionvit.py', './_base_/coco_regionvit_3x.py']
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/regionvit_small.pth')
model = dict(
    backbone=dict(arch='small', init_cfg=pretrained),
    neck=dict(in_channels=[192, 384, 768]))
val_evaluator = test_evaluator = dict(metric='bbox')
