# Later papers quote mIoU 47.5 with 77 M parameters. The authors' recipe is not known.
_base_ = ['./_base_/models/semantic_fpn_regionvit.py', './_base_/datasets/ade20k.py',
          './_base_/schedules/ade20k_80k_semantic_fpn.py', './_base_/mmseg_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://regionvit_base')
model = dict(
    backbone=dict(arch='base', window_size=14, init_cfg=pretrained),
    neck=dict(in_channels=[128, 256, 512, 1024]))
