# No results are published with this head. The recipe is mmseg's for Swin-T, except for the drop path rate.
_base_ = './_base_/mask2former_ade20k.py'
pretrained = dict(type='Pretrained', checkpoint='official://vitaev2_vsa_small')
model = dict(
    backbone=dict(
        type='ViTAEv2VSA', arch='small', window_padding='center', offset_divisor='other_axis', drop_path_rate=0.1,
        init_cfg=pretrained),
    decode_head=dict(in_channels=[64, 128, 256, 512]))
