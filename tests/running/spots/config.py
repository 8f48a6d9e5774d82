# A few steps of a tiny network on generated images.
default_scope = 'spots'
custom_imports = dict(imports=['mmvit_backbones'])
model = dict(type='SpotModel', channels=96, backbone=dict(type='ReSwin', out_indices=(3, ), arch=dict(
    embed_dims=12, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=7, mlp_ratio=4)))
train_dataloader = dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
                        dataset=dict(type='Spots', count=8))
val_dataloader = dict(batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
                      dataset=dict(type='Spots', count=4))
test_dataloader = val_dataloader
val_evaluator = dict(type='Distance')
test_evaluator = val_evaluator
train_cfg = dict(by_epoch=True, max_epochs=2)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3))
default_hooks = dict(checkpoint=dict(type='CheckpointHook', save_best='distance', rule='less'))
