# Trained without token labels. No accuracy is published. Tested with crop 1.13: the short side is resized to 198
# pixels, and cropping to 224 adds a black border.
_base_ = ['./_base_/models/classifier_refiner.py', './_base_/datasets/imagenet_refiner.py',
          './_base_/schedules/imagenet_refiner.py', './_base_/mmpretrain_runtime.py']
test_pipeline = _base_.test_pipeline
test_pipeline[1]['scale'] = 198
test_pipeline[2:3] = [dict(type='NumpyToPIL', to_rgb=True), dict(type='torchvision/CenterCrop', size=224),
                      dict(type='PILToNumpy', to_bgr=True)]
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
model = dict(backbone=dict(arch='large', drop_path_rate=0.2), head=dict(in_channels=512))
