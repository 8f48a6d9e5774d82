# Fine-tuning VSA after ImageNet-22K. Results are published without a recipe, so this recipe is ours: 30 epochs with
# a peak learning rate of 5e-5. Weights are not published either, so train the config ..._22k_pretrain first.
_base_ = ['./models/classifier_mixup_or_cutmix.py', './datasets/imagenet_vitae_bs64.py',
          './schedules/imagenet_vitaev2.py', './mmpretrain_runtime.py']
param_scheduler = _base_.param_scheduler
param_scheduler[0]['end'] = 5
param_scheduler[1].update(eta_min=1e-6, end=30)
model = dict(backbone=dict(type='ViTAEv2VSA', init_cfg=dict(type='Pretrained', prefix='backbone.')))
optim_wrapper = dict(optimizer=dict(lr=5e-5, weight_decay=1e-8))
train_cfg = dict(max_epochs=30)
