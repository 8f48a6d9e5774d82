# ViTAE without a pyramid, with a LayerNorm after global average pooling.
_base_ = './classifier_mixup_or_cutmix.py'
model = dict(
    backbone=dict(type='ViTAE', out_indices=0), neck=dict(_delete_=True, type='LayerNormPooling', order='pool_first'))
