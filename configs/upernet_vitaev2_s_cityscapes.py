# Published on Cityscapes is the all-window variant alone; the recipe is its.
_base_ = './_base_/upernet_cityscapes.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/vitaev2_small.pth')
model = dict(
    backbone=dict(type='ViTAEv2', arch='small', drop_path_rate=0.2, init_cfg=pretrained),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256))
