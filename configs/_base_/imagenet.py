# ImageNet-1k classification: what the recipes of all networks have in common. 300 epochs at 224, AdamW, RandAugment
# m9 mstd0.5, label smoothing 0.1, bicubic everywhere. No weight decay on 1-D tensors; bias tables are decayed.
_base_ = ['mmpretrain::_base_/default_runtime.py', 'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py']
custom_imports = dict(imports=['mmvit_backbones'])
model = dict(
    type='ImageClassifier',
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        cal_acc=False))
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0., bias_decay_mult=0., flat_decay_mult=0.))
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()
