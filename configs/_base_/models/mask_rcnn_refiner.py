# Refiner-ViT with a simple feature pyramid on the classifier's last map. Batch norms stand in attention and are frozen,
# as there are few images per GPU. Maps of attention take memory: at 1333 x 800 in float32, 0.85 GB (S, M) or 1.1 GB (L)
# per image and pair of blocks; blocks are recomputed, and --amp halves it.
_base_ = './mask_rcnn.py'
model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(type='RefinerViT', out_indices=3, norm_eval=True, with_cp=True),
    neck=dict(_delete_=True, type='SimpleFeaturePyramid', num_outs=5))
