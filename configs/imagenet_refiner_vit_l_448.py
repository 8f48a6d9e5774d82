# Published: 86.0 % top-1, with the only published checkpoint. No weights at 224 pixels are published, so train
# configs/imagenet_refiner_vit_l.py first.
_base_ = ['./_base_/models/classifier_refiner_token_labels.py', './_base_/datasets/imagenet_token_labels_448.py',
          './_base_/schedules/imagenet_refiner_finetune.py', './_base_/mmpretrain_runtime.py']
load_from = 'work_dirs/imagenet_refiner_vit_l/epoch_310.pth'
model = dict(backbone=dict(arch='large', img_size=448, drop_path_rate=0.25), head=dict(in_channels=512))
