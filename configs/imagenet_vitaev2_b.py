# Published: 84.6 % top-1, 96.9 % top-5, 88.7 % ReaL. 1024 images per update: 32 GPUs on four machines with
# batch_size=32.
_base_ = ['./_base_/models/classifier_mixup_or_cutmix.py', './_base_/datasets/imagenet_vitae.py',
          './_base_/schedules/imagenet_vitaev2.py', './_base_/mmpretrain_runtime.py']
train_dataloader = dict(batch_size=32)
model = dict(backbone=dict(type='ViTAEv2', arch='base', drop_path_rate=0.4, drop_rate=0.1), head=dict(in_channels=1024))
optim_wrapper = dict(optimizer=dict(weight_decay=0.065), clip_grad=dict(max_norm=5.0))
