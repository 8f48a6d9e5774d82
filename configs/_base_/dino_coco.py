# mmdet's DINO with four scales and 12 epochs, for any backbone. mmdet has model, data and schedule in one file. The
# scales are strides 8 to 32 and one computed from the last map. AdamW at 1e-4, with a tenth of this learning rate for
# the backbone, for 8 GPUs x 2 images. As in mmdet's DINO, also for Swin-L, all parameters have weight decay,
# norms included.
_base_ = ['mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py', './default_runtime.py']
model = dict(backbone=dict(_delete_=True, out_indices=(1, 2, 3)))
# Checkpoints are written as a whole and at SIGTERM; training stops if the loss is not finite.
default_hooks = dict(
    checkpoint=dict(max_keep_ckpts=3, save_best='auto', backend_args=dict(backend='atomic')),
    finite_loss=dict(type='FiniteLossHook'),
    interrupt=dict(type='InterruptHook'))
