# Two steps of the tiny classifier in each of two processes; with plain SGD, the updates are the gradients.
_base_ = './tiny_classifier.py'
custom_imports = dict(imports=['mmvit_backbones', 'agreement'])
custom_hooks = [dict(type='AgreementHook')]
train_cfg = dict(max_epochs=1)
val_cfg = None
val_dataloader = None
val_evaluator = None
param_scheduler = None
optim_wrapper = dict(clip_grad=None, optimizer=dict(_delete_=True, type='SGD', lr=1.0, weight_decay=0.0))
find_unused_parameters = False
