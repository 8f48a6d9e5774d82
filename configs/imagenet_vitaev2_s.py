# Published: 82.6 % top-1, 96.2 % top-5, 87.6 % ReaL. 1024 images per update: 8 GPUs. The last learning rate is
# that of the authors' log.
_base_ = ['./_base_/models/classifier_mixup_or_cutmix.py', './_base_/datasets/imagenet_vitae.py',
          './_base_/schedules/imagenet_vitaev2.py', './_base_/mmpretrain_runtime.py']
param_scheduler = _base_.param_scheduler
param_scheduler[1]['eta_min'] = 1e-5
model = dict(backbone=dict(type='ViTAEv2', arch='small', drop_path_rate=0.1), head=dict(in_channels=512))
