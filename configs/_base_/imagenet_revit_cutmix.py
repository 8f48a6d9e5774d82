# ImageNet-1k with the augmentation of ReViT and ReMViTv2: RandAugment with six operations, Mixup 0.8 or CutMix 1.0
# (half each), random erasing with probability 0.25, gradients clipped at 1, images tested at 256 -> 224. The gate is
# a vector and not decayed; tables of positions are. The authors give learning rates per 512 images of one step, times
# the steps accumulated: those in the configs are what that makes for 2 GPUs.
_base_ = './imagenet_revit.py'
mean, std = [103.53, 116.28, 123.675], [57.375, 57.12, 58.395]  # BGR, as images are read
model = dict(train_cfg=dict(
    _delete_=True, augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)], probs=[0.5, 0.5]))
train_pipeline = [
    *_base_.train_pipeline[:4],
    dict(type='RandomErasing', erase_prob=0.25, mode='rand', min_area_ratio=0.02, max_area_ratio=1 / 3,
         fill_color=mean, fill_std=std),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
