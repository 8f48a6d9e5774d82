# ImageNet-22K as mmpretrain's ImageNet21k: 21,842 classes, without validation. The augmentation is ViTAE's on
# ImageNet-1k.
_base_ = './imagenet_vitae_bs64.py'
data_preprocessor = dict(num_classes=21842)
train_dataloader = dict(dataset=dict(type='ImageNet21k', data_root='data/imagenet21k'))
val_dataloader = None
val_evaluator = None
test_dataloader = None
test_evaluator = None
