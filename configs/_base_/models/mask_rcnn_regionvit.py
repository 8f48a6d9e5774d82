# RegionViT as in the published detectors: images are RGB, but mean and standard deviation are in BGR order.
_base_ = './mask_rcnn.py'
model = dict(
    data_preprocessor=dict(mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395], bgr_to_rgb=True),
    backbone=dict(type='RegionViT', stage_norm=True, drop_path_rate=0.2))
