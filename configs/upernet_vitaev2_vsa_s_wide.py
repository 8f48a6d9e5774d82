# Nothing is published on ADE20K: the recipe is that of ViTAEv2-S. Windows as in the authors' detector.
_base_ = './_base_/upernet.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/vitaev2_vsa_small_wide.pth')
model = dict(
    backbone=dict(
        type='ViTAEv2VSA', arch='small_wide', window_padding='center', offset_divisor='other_axis', drop_path_rate=0.2,
        init_cfg=pretrained),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256))
