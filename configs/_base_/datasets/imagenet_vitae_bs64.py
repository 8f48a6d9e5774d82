# ViTAE's images: 64 per GPU.
_base_ = './imagenet_vitae.py'
train_dataloader = dict(batch_size=64)
