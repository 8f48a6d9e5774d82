# Published: box AP 46.1.
# Fetch the published ImageNet weights (README: "Weights") into the file named below, or train from nothing with
# --cfg-options model.backbone.init_cfg=None.
_base_ = ['./_base_/retinanet_regionvit.py', './_base_/coco_regionvit_1x_dagger.py']
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/regionvit_base.pth')
model = dict(
    backbone=dict(arch='base', window_size=14, peg=True, init_cfg=pretrained),
    neck=dict(in_channels=[256, 512, 1024]))
val_evaluator = test_evaluator = dict(metric='bbox')
