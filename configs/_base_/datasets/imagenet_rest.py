# ResT's images: 8 GPUs x 256 images with repeated augmentation. The authors' color jitter of 0.4 is omitted, because
# it has no effect together with RandAugment.
_base_ = './imagenet.py'
train_dataloader = dict(batch_size=256, sampler=dict(_delete_=True, type='RepeatAugSampler', shuffle=True))
val_dataloader = dict(batch_size=256)
test_dataloader = val_dataloader
