# A few steps of a tiny classifier on the flowers, with random crops and drop path.
_base_ = '../configs/imagenet_reswin_t.py'
model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True, embed_dims=12, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=7, mlp_ratio=4),
        out_indices=3, drop_path_rate=0.1),
    head=dict(in_channels=96))
train_dataloader = dict(batch_size=4, dataset=dict(indices=16))
val_dataloader = dict(batch_size=4, dataset=dict(indices=4))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=3, val_interval=1)
custom_hooks = [dict(type='ExactResumeHook')]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(max_keep_ckpts=-1))
