# Published: 86.0 % top-1, 90.3 % ReaL; pretrained on ImageNet-22K: 87.5 % top-1. 8 GPUs x 64 images. The authors'
# recipe is known only for ViTAE-T and is used here.
_base_ = ['./_base_/models/classifier_vitae_plain.py', './_base_/datasets/imagenet_vitae_bs64.py',
          './_base_/schedules/imagenet_vitae.py', './_base_/mmpretrain_runtime.py']
model = dict(backbone=dict(arch='large', drop_path_rate=0.1), neck=dict(in_channels=1024), head=dict(in_channels=1024))
