# Mixup 0.8 or CutMix 1.0, each for half of the batches.
_base_ = './classifier.py'
model = dict(
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]))
