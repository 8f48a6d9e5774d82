# The recipe of ViTAE: 512 images per update.
_base_ = './imagenet_vitaev2.py'
optim_wrapper = dict(optimizer=dict(weight_decay=0.03))
auto_scale_lr = dict(base_batch_size=512)
