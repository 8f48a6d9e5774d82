# Token labels at 448 x 448 pixels. As published (crop 1.13), the short side of test images is resized to 396 pixels,
# and cropping adds a black border.
_base_ = './imagenet_token_labels.py'
train_pipeline = _base_.train_pipeline
train_pipeline[2]['transforms'][2]['scale'] = 448
train_pipeline[4]['grid_size'] = 28
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=396, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='NumpyToPIL', to_rgb=True),
    dict(type='torchvision/CenterCrop', size=448),
    dict(type='PILToNumpy', to_bgr=True),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
