# Published: mIoU 49.2 (several scales and flipped). Fetch the published ImageNet weights (README: "Weights")
# into the file named below, or train from nothing with --cfg-options model.backbone.init_cfg=None.
_base_ = './_base_/upernet_restv2.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/restv2_small_224.pth')
model = dict(
    backbone=dict(type='ResTv2', arch='small', drop_path_rate=0.2, init_cfg=pretrained),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384))
