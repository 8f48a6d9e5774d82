# Published: 85.8 % top-1. No weights at 224 pixels are published, so train configs/imagenet_refiner_vit_l.py first.
# Tested with crop 1.13: the short side is resized to 339 pixels, and cropping to 384 adds a black border.
_base_ = ['./_base_/models/classifier_refiner_token_labels.py', './_base_/datasets/imagenet_token_labels_384.py',
          './_base_/schedules/imagenet_refiner_finetune.py', './_base_/mmpretrain_runtime.py']
test_pipeline = _base_.test_pipeline
test_pipeline[1]['scale'] = 339
test_pipeline[2:3] = [dict(type='NumpyToPIL', to_rgb=True), dict(type='torchvision/CenterCrop', size=384),
                      dict(type='PILToNumpy', to_bgr=True)]
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
load_from = 'work_dirs/imagenet_refiner_vit_l/epoch_310.pth'
model = dict(backbone=dict(arch='large', img_size=384, drop_path_rate=0.25), head=dict(in_channels=512))
