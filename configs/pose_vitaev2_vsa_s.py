# No results are published. The recipe is taken from ViTAEv2-S.
_base_ = './_base_/pose_ap10k.py'
pretrained = dict(type='Pretrained', checkpoint='official://vitaev2_vsa_small')
model = dict(
    backbone=dict(
        type='ViTAEv2VSA', arch='small', window_padding='center', offset_divisor='other_axis', drop_path_rate=0.6,
        init_cfg=pretrained))
