# Published: 83.9 % top-1; pretrained on ImageNet-22K: 84.9 % top-1. 16 GPUs x 64 images.
_base_ = ['./_base_/models/classifier_mixup_or_cutmix.py', './_base_/datasets/imagenet_vitae_bs64.py',
          './_base_/schedules/imagenet_vitaev2.py', './_base_/mmpretrain_runtime.py']
model = dict(backbone=dict(type='ViTAEv2VSA', arch='48m', drop_path_rate=0.25), head=dict(in_channels=768))
optim_wrapper = dict(optimizer=dict(weight_decay=0.055))
