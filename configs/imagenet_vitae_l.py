# Published: 86.0 %, 90.3 % ReaL; pre-trained on 22K: 87.5 %. 8 GPUs x 64 images.
# The authors' recipe is known for ViTAE-T alone; this is that one.
_base_ = './_base_/imagenet_vitae.py'
model = dict(
    backbone=dict(type='ViTAE', arch='large', out_indices=0, drop_path_rate=0.1),
    neck=dict(_delete_=True, type='LayerNormPooling', order='pool_first', in_channels=1024),
    head=dict(in_channels=1024))
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.03))
auto_scale_lr = dict(base_batch_size=512)
