# Fine-tuning a classifier on a folder of images: `mmvit train NETWORK --class-folder FOLDER`. The command sets the
# network, the classes, the number of epochs (fewer if there are many images) and the weights. No recipe is published;
# this one is ours.
_base_ = ['./models/classifier.py', './finetune.py', './mmpretrain_runtime.py']
model = dict(data_preprocessor=dict(to_rgb=True))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.5, 1.0), backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=16, dataset=dict(type='CustomDataset', pipeline=train_pipeline))
val_dataloader = dict(batch_size=16, dataset=dict(type='CustomDataset', pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=10))
auto_scale_lr = dict(base_batch_size=16)
random_weights = dict(optim_wrapper=dict(optimizer=dict(lr=5e-4)))
