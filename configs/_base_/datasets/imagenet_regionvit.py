# RegionViT's images: 8 GPUs x 128 images with repeated augmentation, in which each image is used three times in a row.
_base_ = './imagenet_bs128.py'
train_dataloader = dict(sampler=dict(_delete_=True, type='RepeatedAugmentationSampler', num_repeats=3, seed=0))
