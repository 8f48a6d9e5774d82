# Four maps of the same stride are resized to a pyramid, as for BEiT. The batch norms in attention are frozen, because
# there are few images per GPU.
_base_ = './upernet.py'
model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(type='RefinerViT', norm_eval=True),
    neck=dict(type='Feature2Pyramid', rescales=[4, 2, 1, 0.5], norm_cfg=dict(type='SyncBN', requires_grad=True)))
