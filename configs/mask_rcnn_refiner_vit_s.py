# No detection results are published for Refiner-ViT. No weights at 224 pixels are published, so train
# configs/imagenet_refiner_vit_s.py first.
_base_ = ['./_base_/models/mask_rcnn_refiner.py', './_base_/datasets/coco_instance.py',
          './_base_/schedules/coco_refiner_1x.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='work_dirs/imagenet_refiner_vit_s', prefix='backbone.')
model = dict(backbone=dict(arch='small', drop_path_rate=0.2, init_cfg=pretrained), neck=dict(in_channels=384))
