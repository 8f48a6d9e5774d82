# Published: AP 71.8 on AP-10K, with a drop path rate of 0.6.
_base_ = './_base_/pose_ap10k.py'
pretrained = dict(type='Pretrained', checkpoint='official://vitaev2_small')
model = dict(backbone=dict(type='ViTAEv2', arch='small', drop_path_rate=0.6, init_cfg=pretrained))
