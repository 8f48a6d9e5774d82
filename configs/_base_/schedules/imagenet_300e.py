# Settings shared by the ImageNet recipes of all networks: AdamW, 300 epochs, no weight decay of 1-D tensors. Position
# tables have weight decay, and ViTAE's class tokens, as in the authors' code; recipes that differ say so.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0., bias_decay_mult=0., flat_decay_mult=0.))
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()
