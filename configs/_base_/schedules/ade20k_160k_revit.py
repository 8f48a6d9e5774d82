# The gate and the position embedding have no weight decay.
_base_ = './ade20k_160k.py'
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'gate': dict(decay_mult=0.)}))
