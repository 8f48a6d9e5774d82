# Published for Swin-T with VSA: 82.24 % top-1, before the code. The recipe is Swin's. 8 GPUs x 128 images.
_base_ = ['./_base_/models/classifier_mixup_or_cutmix.py', './_base_/datasets/imagenet_bs128.py',
          './_base_/schedules/imagenet_swin.py', './_base_/mmpretrain_runtime.py']
model = dict(backbone=dict(type='SwinVSA', arch='tiny', drop_path_rate=0.2), head=dict(in_channels=768))
