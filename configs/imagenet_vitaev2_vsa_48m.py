# Published: 83.9 %; pre-trained on 22K: 84.9 %.
# 16 GPUs x 64 images.
_base_ = './_base_/imagenet_vitae.py'
model = dict(
    backbone=dict(type='ViTAEv2VSA', arch='48m', out_indices=3, drop_path_rate=0.25),
    head=dict(in_channels=768))
optim_wrapper = dict(optimizer=dict(weight_decay=0.055))
train_dataloader = dict(batch_size=64)
