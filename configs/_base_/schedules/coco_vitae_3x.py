# The batch norms of the convolutions have weight decay, as published.
_base_ = './coco_3x_warmup500.py'
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'conv_branch.norms': dict(decay_mult=1.)}))
