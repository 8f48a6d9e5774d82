# ReViT's images: 256 per GPU, RandAugment with six operations, tested with center crops of images resized to 256
# pixels.
_base_ = './imagenet.py'
train_pipeline = _base_.train_pipeline
train_pipeline[3]['num_policies'] = 6
train_dataloader = dict(batch_size=256, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=256)
test_dataloader = val_dataloader
