# Refiner-ViT without token labels. As in the authors' recipe, the loss for the similarity of attention maps uses two
# pairs of blocks.
_base_ = './classifier_mixup_or_cutmix.py'
model = dict(
    backbone=dict(type='RefinerViT', out_type='tokens'),
    neck=None,
    head=dict(
        _delete_=True, type='TokenLabelHead', num_classes=1000, dense=False,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        map_loss=dict(type='MapSimilarityLoss', num_pairs=2)))
