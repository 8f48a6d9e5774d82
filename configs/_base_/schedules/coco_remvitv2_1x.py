# The gate and the relative position embeddings have no weight decay.
_base_ = './coco_1x.py'
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'gate': dict(decay_mult=0.)}))
