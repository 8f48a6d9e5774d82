# No segmentation results are published for Refiner-ViT. No weights at 224 pixels are published, so train
# configs/imagenet_refiner_vit_s.py first.
_base_ = ['./_base_/models/upernet_refiner.py', './_base_/datasets/ade20k.py',
          './_base_/schedules/ade20k_160k_refiner.py', './_base_/mmseg_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='work_dirs/imagenet_refiner_vit_s', prefix='backbone.')
model = dict(
    backbone=dict(arch='small', drop_path_rate=0.2, init_cfg=pretrained),
    neck=dict(embed_dim=384),
    decode_head=dict(in_channels=[384, 384, 384, 384]),
    auxiliary_head=dict(in_channels=384))
