# 8 GPUs x 256 images, repeated augmentation. The authors' color jitter of 0.4 is left out: it has no effect where
# RandAugment is used.
_base_ = './imagenet.py'
train_dataloader = dict(batch_size=256, sampler=dict(_delete_=True, type='RepeatAugSampler', shuffle=True))
val_dataloader = dict(batch_size=256)
test_dataloader = val_dataloader
