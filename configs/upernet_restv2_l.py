# No segmentation results of this size are published: the recipe is that of base. Fetch the published ImageNet
# weights (README: "Weights") into the file named below, or train from nothing with --cfg-options
# model.backbone.init_cfg=None.
_base_ = './_base_/upernet_restv2.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/restv2_large_224.pth')
model = dict(
    backbone=dict(type='ResTv2', arch='large', drop_path_rate=0.5, init_cfg=pretrained),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512))
