# 8 GPUs x 256 images, tested at 224 without margin. The authors' color jitter of 0.4 is left out: it has no effect
# where RandAugment is used.
_base_ = './imagenet.py'
test_pipeline = _base_.test_pipeline
test_pipeline[1]['scale'] = 224
train_dataloader = dict(batch_size=256)
val_dataloader = dict(batch_size=256, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
