# The class token, position embedding and 1-D tensors have no weight decay. The authors have no detectors, so the
# schedule is Swin-T's.
_base_ = './coco_1x.py'
optim_wrapper = dict(
    paramwise_cfg=dict(
        flat_decay_mult=0., custom_keys={'class_token': dict(decay_mult=0.), 'positions': dict(decay_mult=0.)}))
