# Class token and positions are not decayed, nor is any 1-D tensor. The authors have no segmenters: the schedule is that
# of Swin-T.
_base_ = './ade20k_160k.py'
optim_wrapper = dict(
    paramwise_cfg=dict(
        flat_decay_mult=0., custom_keys={'class_token': dict(decay_mult=0.), 'positions': dict(decay_mult=0.)}))
