# Fine-tuning an ImageNet classifier on a small data set at 224 x 224 pixels. No recipe is published, so this recipe is
# ours: 100 epochs of AdamW at 1e-4 for 256 images per update (1 GPU), five epochs of warm-up, then cosine decay. Images
# are only cropped and flipped.
_base_ = ['./models/classifier.py', './datasets/imagenet.py', './schedules/imagenet_300e.py',
          './mmpretrain_runtime.py']
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.5, 1.0), backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = _base_.test_pipeline
train_dataloader = dict(batch_size=256, dataset=dict(_delete_=True, pipeline=train_pipeline))
val_dataloader = dict(batch_size=256, dataset=dict(_delete_=True, pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(
    type='AmpOptimWrapper', loss_scale='dynamic', optimizer=dict(lr=1e-4), clip_grad=dict(max_norm=5.0))
train_cfg = dict(max_epochs=100, val_interval=5)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=5, end=100, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=256)
