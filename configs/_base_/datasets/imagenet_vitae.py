# Images are resized by bilinear or bicubic interpolation, drawn for every image (the authors' train_interpolation is
# timm's 'random'), by RandAugment, too, where timm draws it for every operation. Tested at 248 -> 224 (crop 0.9),
# bicubic. The authors' color jitter has no effect next to RandAugment.
_base_ = './imagenet_bs128.py'
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[1] = dict(
    type='RandomChoice',
    transforms=[[dict(_base_.train_pipeline[1], interpolation=kind)] for kind in ('bilinear', 'bicubic')])
train_pipeline[3] = dict(
    type='RandomChoice',
    transforms=[[dict(_base_.train_pipeline[3], hparams=dict(pad_val=[104, 116, 124], interpolation=kind))]
                for kind in ('bilinear', 'bicubic')])
test_pipeline[1]['scale'] = 248
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
