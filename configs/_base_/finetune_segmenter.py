# Fine-tuning UperNet on images and masks: `mmvit train NETWORK --seg-folder FOLDER`. The command sets the network, the
# classes, the number of epochs (fewer if there are many images) and the weights. Group norms in the heads, which work
# with any batch size. No recipe is published; this one is ours.
_base_ = ['./models/upernet.py', './finetune.py', './mmseg_runtime.py']
norm_cfg = dict(type='GN', num_groups=32)
model = dict(
    decode_head=dict(channels=256, norm_cfg=norm_cfg), auxiliary_head=dict(channels=128, norm_cfg=norm_cfg))
crop_size = (512, 512)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(2048, 512), ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2048, 512), keep_ratio=True),
    dict(type='LoadAnnotations'),  # after Resize, so that the masks keep their size
    dict(type='PackSegInputs'),
]
train_dataloader = dict(batch_size=4, dataset=dict(type='BaseSegDataset', pipeline=train_pipeline))
val_dataloader = dict(batch_size=1, dataset=dict(type='BaseSegDataset', pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=20),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=10),
    sampler_seed=dict(type='DistSamplerSeedHook'))
log_processor = dict(by_epoch=True)
auto_scale_lr = dict(base_batch_size=4)
random_weights = dict(optim_wrapper=dict(optimizer=dict(lr=1e-3)))
