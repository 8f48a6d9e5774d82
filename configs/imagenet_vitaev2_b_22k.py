# Fine-tuning from the weights pre-trained on ImageNet-22K. Published: 86.1 / 97.9 %, 89.9 % ReaL, without its
# recipe: this one is ours, 30 epochs at a twentieth of the learning rate.
_base_ = './imagenet_vitaev2_b.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/vitaev2_base_22k.pth')
model = dict(backbone=dict(init_cfg=pretrained))
optim_wrapper = dict(optimizer=dict(lr=5e-5, weight_decay=1e-8))
train_cfg = dict(max_epochs=30)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=0, end=30, convert_to_iter_based=True),
]
