# Published: box AP 43.3.
# Fetch the published ImageNet weights (README: "Weights") into the file named below, or train from nothing with
# --cfg-options model.backbone.init_cfg=None.
_base_ = ['./_base_/retinanet_regionvit.py', './_base_/coco_regionvit_1x.py']
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/regionvit_base.pth')
model = dict(
    backbone=dict(arch='base', init_cfg=pretrained),
    neck=dict(in_channels=[256, 512, 1024]))
val_evaluator = test_evaluator = dict(metric='bbox')
