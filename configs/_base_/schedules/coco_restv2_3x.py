# ResTv2's schedule of 36 epochs, with the gradients of the whole model clipped at 0.01. The authors' 270,000 iterations
# with steps at 210,000 and 250,000 correspond to 36 epochs with steps after epochs 28 and 33.
_base_ = './coco_1x.py'
train_cfg = dict(max_epochs=36)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', begin=0, end=36, by_epoch=True, milestones=[28, 33], gamma=0.1),
]
optim_wrapper = dict(
    type='AmpOptimWrapper', loss_scale='dynamic',
    clip_grad=dict(max_norm=0.01),
    # The output norms have weight decay, because detectron2 does not recognize the authors' class as a norm.
    paramwise_cfg=dict(custom_keys={'backbone.norm': dict(decay_mult=1.)}))
