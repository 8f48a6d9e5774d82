# ReSwin with Mixup 0.8 for 99 % of the batches, without CutMix. The published network was trained from PyTorch's
# default initialization.
_base_ = './classifier.py'
model = dict(
    head=dict(init_cfg=None), train_cfg=dict(augments=dict(type='Mixup', alpha=0.8), probs=[0.99]))
