# ReSwin's images: random erasing with probability 0.1, tested with center crops of images resized to 246 pixels.
_base_ = './imagenet_revit.py'
train_pipeline = _base_.train_pipeline
train_pipeline[4]['erase_prob'] = 0.1
test_pipeline = _base_.test_pipeline
test_pipeline[1]['scale'] = 246
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
