# RegionViT's images: 8 GPUs x 128 images with repeated augmentation, in which each image is used three times in a row.
# The authors' sampler ends an epoch at a multiple of 256 images, which is here the last full batch.
_base_ = './imagenet_bs128.py'
train_dataloader = dict(
    drop_last=True, sampler=dict(_delete_=True, type='RepeatAugSampler', num_repeats=3, seed=0))
