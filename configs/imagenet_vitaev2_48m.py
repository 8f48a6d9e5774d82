# Published: 83.8 % top-1, 96.6 % top-5, 88.4 % ReaL. 1024 images per update: 16 GPUs on two machines with
# batch_size=64.
_base_ = ['./_base_/models/classifier_mixup_or_cutmix.py', './_base_/datasets/imagenet_vitae_bs64.py',
          './_base_/schedules/imagenet_vitaev2.py', './_base_/mmpretrain_runtime.py']
model = dict(backbone=dict(type='ViTAEv2', arch='48m', drop_path_rate=0.25), head=dict(in_channels=768))
optim_wrapper = dict(optimizer=dict(weight_decay=0.055))
