# Fine-tuning from the weights pretrained on ImageNet-22K. Published: 86.1 % top-1, 97.9 % top-5, 89.9 % ReaL. No recipe
# is published, so this recipe is ours: 30 epochs with a peak learning rate of 5e-5.
_base_ = './imagenet_vitaev2_b.py'
param_scheduler = _base_.param_scheduler
param_scheduler[0]['end'] = 5
param_scheduler[1].update(eta_min=1e-6, end=30)
pretrained = dict(type='Pretrained', checkpoint='official://vitaev2_base/22k')
model = dict(backbone=dict(init_cfg=pretrained))
optim_wrapper = dict(optimizer=dict(lr=5e-5, weight_decay=1e-8))
train_cfg = dict(max_epochs=30)
