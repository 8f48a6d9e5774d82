# Published: 75.3 / 92.7 %, 82.9 % ReaL. 8 GPUs x 64 images.
# Train with --amp.
_base_ = './_base_/imagenet_vitae.py'
model = dict(
    backbone=dict(type='ViTAE', arch='tiny', out_indices=2, drop_path_rate=0.1),
    head=dict(in_channels=256))
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.03))
auto_scale_lr = dict(base_batch_size=512)
