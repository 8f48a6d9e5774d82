# RegionViT, whose classifier uses the regional tokens.
_base_ = './classifier_mixup_or_cutmix.py'
model = dict(
    backbone=dict(type='RegionViT', out_tokens='regional', drop_path_rate=0.1),
    neck=dict(type='LayerNormPooling', order='norm_first'))
