# No segmentation results are published for ResT. The recipe is mmseg's for Swin-T, with the drop path rate of the
# ImageNet recipe.
_base_ = ['./_base_/models/upernet.py', './_base_/datasets/ade20k.py',
          './_base_/schedules/ade20k_160k.py', './_base_/mmseg_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://rest_large')
model = dict(
    backbone=dict(type='ResT', arch='large', drop_path_rate=0.3, init_cfg=pretrained),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384))
