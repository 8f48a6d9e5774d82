# Published: mIoU 49.6 (multi-scale and flip).
_base_ = ['./_base_/models/upernet.py', './_base_/datasets/ade20k.py',
          './_base_/schedules/ade20k_160k_restv2.py', './_base_/mmseg_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://restv2_base')
model = dict(
    backbone=dict(type='ResTv2', arch='base', drop_path_rate=0.3, init_cfg=pretrained),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384))
