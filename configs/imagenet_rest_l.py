# Published: 83.6 % top-1.
_base_ = './_base_/imagenet_rest.py'
model = dict(
    backbone=dict(type='ResT', arch='large', out_indices=3, drop_path_rate=0.3), head=dict(in_channels=768))
optim_wrapper = dict(optimizer=dict(lr=1.875e-3))
train_dataloader = dict(batch_size=240)
auto_scale_lr = dict(base_batch_size=1920)
