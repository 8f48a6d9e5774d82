# No segmentation results are published for ResT. The recipe is mmseg's for Swin-T, with the drop path rate of the
# ImageNet recipe.
_base_ = ['./_base_/models/upernet.py', './_base_/datasets/ade20k.py',
          './_base_/schedules/ade20k_160k.py', './_base_/mmseg_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://rest_lite')
model = dict(
    backbone=dict(type='ResT', arch='lite', drop_path_rate=0.1, init_cfg=pretrained),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256))
