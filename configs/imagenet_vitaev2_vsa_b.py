# The only published result is 86.2 % top-1 after pretraining on ImageNet-22K. The recipe is taken from ViTAEv2-B. 32
# GPUs x 32 images.
_base_ = ['./_base_/models/classifier_mixup_or_cutmix.py', './_base_/datasets/imagenet_vitae.py',
          './_base_/schedules/imagenet_vitaev2.py', './_base_/mmpretrain_runtime.py']
train_dataloader = dict(batch_size=32)
model = dict(
    backbone=dict(type='ViTAEv2VSA', arch='base', drop_path_rate=0.4, drop_rate=0.1), head=dict(in_channels=1024))
optim_wrapper = dict(optimizer=dict(weight_decay=0.065), clip_grad=dict(max_norm=5.0))
