# Published: 86.2 % top-1, 97.84 % top-5 (elsewhere 97.9 %), 90.0 % ReaL. 32 GPUs x 32 images.
_base_ = './_base_/imagenet22k_finetune_vsa.py'
train_dataloader = dict(batch_size=32)
pretrained = dict(checkpoint='work_dirs/imagenet_vitaev2_vsa_b_22k_pretrain/epoch_90.pth')
model = dict(
    backbone=dict(arch='base', drop_path_rate=0.4, drop_rate=0.1, init_cfg=pretrained), head=dict(in_channels=1024))
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
