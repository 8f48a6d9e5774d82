# 8 GPUs x 128 images, each image three times in a row of batches (repeated augmentation).
_base_ = './imagenet_bs128.py'
train_dataloader = dict(sampler=dict(_delete_=True, type='RepeatedAugmentationSampler', num_repeats=3, seed=0))
