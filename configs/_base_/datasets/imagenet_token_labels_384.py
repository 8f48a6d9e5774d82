# Token labels at 384 x 384 pixels, tested with center crops of images resized to 426 pixels.
_base_ = './imagenet_token_labels.py'
train_pipeline = _base_.train_pipeline
train_pipeline[2]['transforms'][2]['scale'] = 384
train_pipeline[4]['grid_size'] = 24
test_pipeline = _base_.test_pipeline
test_pipeline[1]['scale'] = 426
test_pipeline[2]['crop_size'] = 384
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
