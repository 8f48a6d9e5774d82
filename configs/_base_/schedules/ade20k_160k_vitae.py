# The batch norms of the convolutions have weight decay, as in the authors' UperNet.
_base_ = './ade20k_160k.py'
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'conv_branch.norms': dict(decay_mult=1.)}))
