# Published: 71.8 AP on AP-10K, stochastic depth 0.6.
_base_ = './_base_/pose_ap10k.py'
pretrained = dict(type='Pretrained', checkpoint='official://vitaev2_small')
model = dict(backbone=dict(type='ViTAEv2', arch='small', drop_path_rate=0.6, init_cfg=pretrained))
