# No segmentation results are published for Refiner-ViT. Starts from the published weights.
_base_ = ['./_base_/models/upernet_refiner.py', './_base_/datasets/ade20k.py',
          './_base_/schedules/ade20k_160k_refiner.py', './_base_/mmseg_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://refiner_vit_large/448')
model = dict(
    backbone=dict(arch='large', img_size=448, drop_path_rate=0.25, init_cfg=pretrained),
    neck=dict(embed_dim=512),
    decode_head=dict(in_channels=[512, 512, 512, 512]),
    auxiliary_head=dict(in_channels=512))
