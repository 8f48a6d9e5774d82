# Published: 83.6 % top-1. The authors scale the peak and the final learning rate by images per update / 512: 5e-4 and
# 1e-5 become 1.875e-3 and 3.75e-5.
_base_ = ['./_base_/models/classifier_mixup_or_cutmix.py', './_base_/datasets/imagenet_rest.py',
          './_base_/schedules/imagenet_rest.py', './_base_/mmpretrain_runtime.py']
param_scheduler = _base_.param_scheduler
param_scheduler[1]['eta_min'] = 3.75e-5
train_dataloader = dict(batch_size=240)
model = dict(backbone=dict(type='ResT', out_norm='side', arch='large', drop_path_rate=0.3), head=dict(in_channels=768))
optim_wrapper = dict(optimizer=dict(lr=1.875e-3))
auto_scale_lr = dict(base_batch_size=1920)
