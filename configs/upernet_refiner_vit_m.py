# No segmentation results are published for Refiner-ViT. No weights at 224 pixels are published, so train
# configs/imagenet_refiner_vit_m.py first.
_base_ = ['./_base_/models/upernet_refiner.py', './_base_/datasets/ade20k.py',
          './_base_/schedules/ade20k_160k_refiner.py', './_base_/mmseg_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='work_dirs/imagenet_refiner_vit_m', prefix='backbone.')
model = dict(
    backbone=dict(arch='medium', drop_path_rate=0.25, init_cfg=pretrained),
    neck=dict(embed_dim=420),
    decode_head=dict(in_channels=[420, 420, 420, 420]),
    auxiliary_head=dict(in_channels=420))
