# Fine-tuning after ImageNet-22K. Published: 86.2 / 97.84 % (also stated: 97.9), 90.0 % ReaL, without its recipe: this
# one is ours, 30 epochs at a twentieth of the learning rate. Weights are not published, either: train
# configs/imagenet_vitaev2_vsa_b_22k_pretrain.py first.
_base_ = './imagenet_vitaev2_vsa_b.py'
param_scheduler = _base_.param_scheduler
param_scheduler[0]['end'] = 5
param_scheduler[1].update(eta_min=1e-6, end=30)
pretrained = dict(
    type='Pretrained', checkpoint='work_dirs/imagenet_vitaev2_vsa_b_22k_pretrain/epoch_90.pth', prefix='backbone.')
model = dict(backbone=dict(init_cfg=pretrained))
optim_wrapper = dict(optimizer=dict(lr=5e-5, weight_decay=1e-8))
train_cfg = dict(max_epochs=30)
