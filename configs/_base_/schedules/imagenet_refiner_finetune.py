# Refiner-ViT at larger image sizes, from weights at 224, whose position embedding is resized on loading. The authors'
# recipe is not published; this recipe is a suggestion: 30 epochs at a constant learning rate.
_base_ = './imagenet_refiner.py'
optim_wrapper = dict(optimizer=dict(lr=5e-6, weight_decay=1e-8))
param_scheduler = [dict(type='ConstantLR', factor=1., by_epoch=True, begin=0, end=30)]
train_cfg = dict(max_epochs=30)
