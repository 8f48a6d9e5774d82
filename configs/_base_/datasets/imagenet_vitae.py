# ViTAE's images: interpolation is bilinear or bicubic, chosen at random per image for resizing (the authors'
# train_interpolation is timm's 'random') and for RandAugment, where timm chooses per operation. Tested with center
# crops of images resized to 248 pixels (crop 0.9), bicubic. The authors' color jitter is omitted, because it has no
# effect together with RandAugment. Difference: the authors erase parts of images after Mixup and CutMix, in 25 % of the
# images; here parts are erased before, so up to 44 % of the mixed images have erased parts, of the same mean area.
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
