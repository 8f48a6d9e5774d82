# ImageNet-1k with the augmentation of the ReViT family: RandAugment with six operations, Mixup 0.8 alone (no CutMix)
# with probability 0.99, random erasing with probability 0.1, images tested at 246 -> 224.
_base_ = './imagenet.py'
mean, std = [103.53, 116.28, 123.675], [57.375, 57.12, 58.395]  # BGR, as images are read
model = dict(train_cfg=dict(augments=dict(type='Mixup', alpha=0.8), probs=[0.99]))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment', policies='timm_increasing', num_policies=6, total_level=10, magnitude_level=9,
        magnitude_std=0.5, hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic')),
    dict(type='RandomErasing', erase_prob=0.1, mode='rand', min_area_ratio=0.02, max_area_ratio=1 / 3,
         fill_color=mean, fill_std=std),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=246, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=256, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=256, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
