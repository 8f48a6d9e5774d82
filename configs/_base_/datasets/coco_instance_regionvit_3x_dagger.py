# Larger images (dagger) of RegionViT: up to 1344 pixels on the long side, tested with 896 pixels on the short side.
_base_ = './coco_instance_regionvit_3x.py'
scales = [(short, 1344) for short in range(480, 897, 32)]
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[3]['transforms'][0][0]['scales'] = train_pipeline[3]['transforms'][1][2]['scales'] = scales
test_pipeline[1]['scale'] = (1344, 896)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
