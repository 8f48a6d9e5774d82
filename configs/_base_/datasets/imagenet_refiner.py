# Refiner-ViT's images: 32 per GPU, mean and standard deviation 127.5, tested with center crops of images resized to 248
# pixels (crop 0.9), as for Refiner-ViT-S. Interpolation is bicubic; the authors choose bicubic or bilinear at random.
_base_ = './imagenet.py'
data_preprocessor = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])
train_pipeline = _base_.train_pipeline
train_pipeline[3]['hparams']['pad_val'] = [128, 128, 128]
train_pipeline[4].update(fill_color=[127.5, 127.5, 127.5], fill_std=[127.5, 127.5, 127.5])
test_pipeline = _base_.test_pipeline
test_pipeline[1]['scale'] = 248
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=32, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
