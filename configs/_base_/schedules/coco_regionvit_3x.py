# Schedule of RegionViT's detectors with 270,000 iterations.
_base_ = './coco_regionvit_1x.py'
train_cfg = dict(max_iters=270000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=270000, milestones=[210000, 250000], gamma=0.1),
]
