# Refiner-ViT with a simple feature pyramid on the classifier's last map. The batch norms in attention are frozen,
# because there are few images per GPU. At 1333 x 800 pixels in float32, attention maps take 0.85 GB (S, M) or 1.1 GB
# (L) per image and pair of blocks. Activation checkpointing is therefore enabled; --amp halves the memory.
_base_ = './mask_rcnn.py'
model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(type='RefinerViT', out_indices=3, norm_eval=True, with_cp=True),
    neck=dict(_delete_=True, type='SimpleFeaturePyramid', num_outs=5))
