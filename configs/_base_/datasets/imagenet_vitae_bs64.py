# 64 images per GPU.
_base_ = './imagenet_vitae.py'
train_dataloader = dict(batch_size=64)
