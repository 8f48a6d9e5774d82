# mmdet's Mask2Former for instance segmentation, for any backbone with four maps. mmdet has model, data and schedule in
# one file: COCO with large-scale jitter at 1024 x 1024 pixels, 50 epochs.
_base_ = ['mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py', './default_runtime.py']
model = dict(backbone=dict(_delete_=True))
# Panoptic masks, which mmdet's config names, are not read.
train_dataloader = dict(dataset=dict(data_prefix=dict(_delete_=True, img='train2017/')))
val_dataloader = dict(dataset=dict(data_prefix=dict(_delete_=True, img='val2017/')))
test_dataloader = val_dataloader
# As in mmdet's config for Swin-T, the backbone's norms and relative position bias tables have a tenth of the learning
# rate and no weight decay.
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            key: dict(lr_mult=0.1, decay_mult=0.)
            for key in (
                'norm1.weight', 'norm1.bias', 'norm2.weight', 'norm2.bias', 'norm3.weight', 'norm3.bias',
                'sr_norm.weight', 'sr_norm.bias', 'up_norm.weight', 'up_norm.bias', 'patch_embed.norm',
                'patch_embeds.1.norm', 'patch_embeds.2.norm', 'patch_embeds.3.norm', 'downsample.norm',
                'backbone.norm', 'reduction.norm1', 'conv_branch.norms', 'relative_position_bias_table')
        }))
# Checkpoints are written as a whole and at SIGTERM; training stops if the loss is not finite.
default_hooks = dict(
    checkpoint=dict(max_keep_ckpts=3, save_best='auto', backend_args=dict(backend='atomic')),
    finite_loss=dict(type='FiniteLossHook'),
    interrupt=dict(type='InterruptHook'))
