# The pyramid has the last three maps and two maps computed from the last one, with a ReLU in between as in detectron2.
# As in the published detectors, images are RGB, but mean and standard deviation are in BGR order.
_base_ = './retinanet.py'
model = dict(
    data_preprocessor=dict(mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395], bgr_to_rgb=True),
    backbone=dict(type='RegionViT', stage_norm=True, drop_path_rate=0.2, out_indices=(1, 2, 3)),
    neck=dict(start_level=0, relu_before_extra_convs=True))
