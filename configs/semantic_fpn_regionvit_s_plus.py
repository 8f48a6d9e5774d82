# Later papers quote mIoU 45.3 with 35 M parameters. The authors' recipe is not known.
_base_ = ['./_base_/models/semantic_fpn_regionvit.py', './_base_/datasets/ade20k.py',
          './_base_/schedules/ade20k_80k_semantic_fpn.py', './_base_/mmseg_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://regionvit_small')
model = dict(
    backbone=dict(arch='small', window_size=14, init_cfg=pretrained),
    neck=dict(in_channels=[96, 192, 384, 768]))
