# RetinaNet with ResT. The authors' 90,000 iterations with steps at 60,000 and 80,000 correspond to 12 epochs with
# steps after epochs 8 and 11.
_base_ = './coco_1x.py'
optim_wrapper = dict(paramwise_cfg=dict(_delete_=True, norm_decay_mult=0.))
