# ImageNet-1k for 8 GPUs x 128 images.
_base_ = './imagenet.py'
train_dataloader = dict(batch_size=128)
val_dataloader = dict(batch_size=128)
test_dataloader = val_dataloader
