# Semantic FPN on ADE20K, 512 x 512, 80,000 iterations, as PVT (arXiv 2102.12122) and its followers train it:
# AdamW 1e-4, decay 1e-4, polynomial of power 0.9, 8 GPUs x 2 images. No recipe of RegionViT's is published.
_base_ = './upernet.py'
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    backbone=dict(type='RegionViT', window_size=7, stage_norm=True, drop_path_rate=0.2),
    neck=dict(type='FPN', out_channels=256, num_outs=4),
    decode_head=dict(
        _delete_=True, type='FPNHead', in_channels=[256, 256, 256, 256], in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32], channels=128, dropout_ratio=0.1, num_classes=150, norm_cfg=norm_cfg,
        align_corners=False, loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0)),
    auxiliary_head=None)
train_cfg = dict(max_iters=80000, val_interval=8000)
optim_wrapper = dict(optimizer=dict(lr=1e-4, weight_decay=1e-4))
param_scheduler = [dict(type='PolyLR', eta_min=0., power=0.9, begin=0, end=80000, by_epoch=False)]
default_hooks = dict(checkpoint=dict(interval=8000))
