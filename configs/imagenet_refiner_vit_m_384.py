# Published: 85.6 % top-1. No weights at 224 pixels are published, so train configs/imagenet_refiner_vit_m.py first.
# Tested with crop 1.0.
_base_ = ['./_base_/models/classifier_refiner_token_labels.py', './_base_/datasets/imagenet_token_labels_384.py',
          './_base_/schedules/imagenet_refiner_finetune.py', './_base_/mmpretrain_runtime.py']
test_pipeline = _base_.test_pipeline
test_pipeline[1]['scale'] = 384
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
load_from = 'work_dirs/imagenet_refiner_vit_m/epoch_310.pth'
model = dict(backbone=dict(arch='medium', img_size=384, drop_path_rate=0.25), head=dict(in_channels=420))
