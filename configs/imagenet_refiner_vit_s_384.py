# Published: 84.6 % top-1. No weights at 224 pixels are published, so train configs/imagenet_refiner_vit_s.py first.
_base_ = ['./_base_/models/classifier_refiner_token_labels.py', './_base_/datasets/imagenet_token_labels_384.py',
          './_base_/schedules/imagenet_refiner_finetune.py', './_base_/mmpretrain_runtime.py']
load_from = 'work_dirs/imagenet_refiner_vit_s/epoch_310.pth'
model = dict(backbone=dict(arch='small', img_size=384, drop_path_rate=0.2), head=dict(in_channels=384))
