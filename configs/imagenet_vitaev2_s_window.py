# Published: 82.2 % top-1, 96.1 % top-5, 87.5 % ReaL. 1024 images per update: 8 GPUs. The last learning rate is
# that of ViTAEv2-S.
_base_ = ['./_base_/models/classifier_mixup_or_cutmix.py', './_base_/datasets/imagenet_vitae.py',
          './_base_/schedules/imagenet_vitaev2.py', './_base_/mmpretrain_runtime.py']
param_scheduler = _base_.param_scheduler
param_scheduler[1]['eta_min'] = 1e-5
model = dict(backbone=dict(type='ViTAEv2', arch='small_window', drop_path_rate=0.1), head=dict(in_channels=512))
