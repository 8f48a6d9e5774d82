# No segmentation results are published for this size. The recipe is taken from ResTv2-B.
_base_ = ['./_base_/models/upernet.py', './_base_/datasets/ade20k.py',
          './_base_/schedules/ade20k_160k_restv2.py', './_base_/mmseg_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://restv2_large')
model = dict(
    backbone=dict(type='ResTv2', arch='large', drop_path_rate=0.5, init_cfg=pretrained),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512))
