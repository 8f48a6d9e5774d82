# Larger images (dagger) of RegionViT: they are stretched to 1344 x 896 pixels, portrait images to 896 x 1344. Only this
# size is published. Stretching is taken from coco_instance_regionvit_1x.py, which describes how to keep the aspect
# ratios.
_base_ = './coco_instance_regionvit_1x.py'
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[2]['scale'] = test_pipeline[1]['scale'] = (1344, 896)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
