# Pretraining on ImageNet-22K. No recipe is published, so this recipe is ours: 90 epochs with the augmentation of
# ImageNet-1k and a low drop path rate.
_base_ = ['./models/classifier_mixup_or_cutmix.py', './datasets/imagenet22k.py', './schedules/imagenet22k_90e.py',
          './mmpretrain_runtime.py']
model = dict(backbone=dict(drop_path_rate=0.1), head=dict(num_classes=21842))
