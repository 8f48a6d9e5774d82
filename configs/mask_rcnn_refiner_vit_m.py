# No detection results are published for Refiner-ViT. Starts from the weights of configs/imagenet_refiner_vit_m.py at
# 224, which are not published.
_base_ = ['./_base_/models/mask_rcnn_refiner.py', './_base_/datasets/coco_instance.py',
          './_base_/schedules/coco_refiner_1x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='checkpoints/refiner_vit_medium_224.pth', prefix='backbone.')
model = dict(backbone=dict(arch='medium', drop_path_rate=0.25, init_cfg=pretrained), neck=dict(in_channels=420))
