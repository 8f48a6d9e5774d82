# Mixup 0.8 alone, for 99 % of the batches.
_base_ = './classifier.py'
model = dict(train_cfg=dict(augments=dict(type='Mixup', alpha=0.8), probs=[0.99]))
