# ImageNet-1k at 224 x 224 pixels: RandAugment with two operations (m9, mstd0.5), random erasing 0.25, bicubic
# interpolation; tested with center crops of images resized to 256 pixels. An incomplete last batch is dropped, as in
# ViTAEv2's logs (1251 updates of 1024 images per epoch). The pipelines are copied from mmpretrain, because its base
# config would add a `_scope_` to each step.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py'
mean, std = [103.53, 116.28, 123.675], [57.375, 57.12, 58.395]  # in BGR order, as images are read
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment', policies='timm_increasing', num_policies=2, total_level=10, magnitude_level=9,
        magnitude_std=0.5, hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic')),
    dict(
        type='RandomErasing', erase_prob=0.25, mode='rand', min_area_ratio=0.02, max_area_ratio=1 / 3,
        fill_color=mean, fill_std=std),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(drop_last=True, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
