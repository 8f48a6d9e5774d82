_base_ = '../_base_/demo_imagenet.py'
model = dict(
    backbone=dict(type='RefinerViT', arch='small', out_type='tokens', drop_path_rate=0.),
    neck=None,
    head=dict(
        _delete_=True, type='TokenLabelHead', in_channels=384, num_classes=5, dense=False,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        map_loss=dict(type='MapSimilarityLoss', num_pairs=2)))
