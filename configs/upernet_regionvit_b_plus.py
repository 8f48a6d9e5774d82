# No UperNet results of RegionViT are published: the recipe is mmseg's for Swin-T.
# Fetch the published ImageNet weights (README: "Weights") into the file named below, or train from nothing with
# --cfg-options model.backbone.init_cfg=None.
_base_ = './_base_/upernet_regionvit.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/regionvit_base.pth')
model = dict(
    backbone=dict(arch='base', window_size=14, init_cfg=pretrained),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512))
