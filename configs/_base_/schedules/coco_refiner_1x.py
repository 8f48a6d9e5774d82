# Class token and positions are not decayed, nor is any 1-D tensor. The authors have no detectors: the schedule is that
# of Swin-T.
_base_ = './coco_1x.py'
optim_wrapper = dict(
    paramwise_cfg=dict(
        flat_decay_mult=0., custom_keys={'class_token': dict(decay_mult=0.), 'positions': dict(decay_mult=0.)}))
