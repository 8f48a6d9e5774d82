# Pre-training on ImageNet-22K. No recipe is published: this one is ours, 90 epochs with the augmentation of ImageNet-1k
# and little stochastic depth. 1024 images per update: 16 GPUs x 64 images.
_base_ = ['./_base_/models/classifier_mixup_or_cutmix.py', './_base_/datasets/imagenet22k.py',
          './_base_/schedules/imagenet22k_90e.py', './_base_/mmpretrain_runtime.py']
model = dict(
    backbone=dict(type='ViTAEv2VSA', arch='48m', drop_path_rate=0.1), head=dict(in_channels=768, num_classes=21842))
