_base_ = '../_base_/demo_mask_rcnn.py'
model = dict(
    backbone=dict(type='RefinerViT', arch='small', out_indices=3, drop_path_rate=0.),
    neck=dict(_delete_=True, type='SimpleFeaturePyramid', in_channels=384, out_channels=128))
