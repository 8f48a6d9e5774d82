# Nothing is published on ADE20K: the recipe is that of ViTAEv2-S. Windows as in the authors' detector.
_base_ = './_base_/upernet.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/vitaev2_vsa_base.pth')
model = dict(
    backbone=dict(
        type='ViTAEv2VSA', arch='base', window_padding='center', offset_divisor='other_axis', drop_path_rate=0.2,
        init_cfg=pretrained),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512))
