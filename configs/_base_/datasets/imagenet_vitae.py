# Tested at 248 -> 224 (crop 0.9). The authors' color jitter has no effect beside RandAugment.
_base_ = './imagenet_bs128.py'
test_pipeline = _base_.test_pipeline
test_pipeline[1]['scale'] = 248
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
