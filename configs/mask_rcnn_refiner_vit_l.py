# No detection results are published for Refiner-ViT. Starts from the published weights.
_base_ = ['./_base_/models/mask_rcnn_refiner.py', './_base_/datasets/coco_instance.py',
          './_base_/schedules/coco_refiner_1x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://refiner_vit_large/448')
model = dict(
    backbone=dict(arch='large', img_size=448, drop_path_rate=0.25, init_cfg=pretrained),
    neck=dict(in_channels=512))
