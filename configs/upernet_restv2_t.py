# Published: mIoU 47.3 (multi-scale and flip). Test images keep their size; the authors resized them to multiples of 32.
_base_ = ['./_base_/models/upernet.py', './_base_/datasets/ade20k.py',
          './_base_/schedules/ade20k_160k_restv2_t.py', './_base_/mmseg_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://restv2_tiny')
model = dict(
    backbone=dict(type='ResTv2', arch='tiny', drop_path_rate=0.1, init_cfg=pretrained),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384))
