# ImageNet-1k as Refiner-ViT is trained without token labels: 32 images per process and a learning rate of 5e-4 that the
# authors did not scale; how many processes they used is not known, here it is 8. Five epochs of warm-up from 1e-6, 300
# of cosine to 1e-5 and 10 more, Mixup 0.8 or CutMix 1.0 (half each), random erasing 0.25, averaged weights; train with
# --amp. Of the similarity of attention maps, the authors' plain recipe counts two pairs. Images are resized by
# bicubic interpolation, where the authors draw it or bilinear. Tested at 248 -> 224 (crop 0.9), which is that of S.
_base_ = './imagenet.py'
data_preprocessor = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])
crop = dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic')
flip = dict(type='RandomFlip', prob=0.5, direction='horizontal')
augment = dict(
    type='RandAugment', policies='timm_increasing', num_policies=2, total_level=10, magnitude_level=9,
    magnitude_std=0.5, hparams=dict(pad_val=[128, 128, 128], interpolation='bicubic'))
erase = dict(
    type='RandomErasing', erase_prob=0.25, mode='rand', min_area_ratio=0.02, max_area_ratio=1 / 3,
    fill_color=[127.5, 127.5, 127.5], fill_std=[127.5, 127.5, 127.5])
train_pipeline = [dict(type='LoadImageFromFile'), crop, flip, augment, erase, dict(type='PackInputs')]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=248, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=32, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
model = dict(
    backbone=dict(type='RefinerViT', out_indices=3, out_type='tokens'),
    neck=None,
    head=dict(
        _delete_=True, type='TokenLabelHead', num_classes=1000, dense=False,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        map_loss=dict(type='MapSimilarityLoss', num_pairs=2)),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)], probs=[0.5, 0.5]))
optim_wrapper = dict(
    optimizer=dict(lr=5e-4),
    paramwise_cfg=dict(custom_keys={'class_token': dict(decay_mult=0.), 'positions': dict(decay_mult=0.)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=2e-3, by_epoch=True, begin=0, end=5),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=300),
]
train_cfg = dict(max_epochs=310)
custom_hooks = [dict(type='EMAHook', momentum=4e-5, update_buffers=True, priority='ABOVE_NORMAL')]
auto_scale_lr = dict(base_batch_size=256)
