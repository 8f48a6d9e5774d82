# ResTv2's images: 8 GPUs x 256 images, tested with images resized to 224 pixels (crop 1.0). The authors' color jitter
# of 0.4 is omitted, because it has no effect together with RandAugment.
_base_ = './imagenet.py'
test_pipeline = _base_.test_pipeline
test_pipeline[1]['scale'] = 224
train_dataloader = dict(batch_size=256)
val_dataloader = dict(batch_size=256, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
