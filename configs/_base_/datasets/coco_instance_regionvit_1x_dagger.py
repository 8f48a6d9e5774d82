# Larger images (dagger): stretched to 1344 x 896 pixels, portrait ones to 896 x 1344. Only the size is published; that
# they are stretched is taken from the recipe for smaller ones, coco_instance_regionvit_1x.py, which tells how to keep
# their proportions instead.
_base_ = './coco_instance_regionvit_1x.py'
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[2]['scale'] = test_pipeline[1]['scale'] = (1344, 896)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
