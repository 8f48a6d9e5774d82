# Stages 2 to 4 and two levels more, with detectron2's ReLU in between. Input as in the published detectors, which
# unlike the pretraining read BGR and do not divide.
_base_ = './retinanet.py'
model = dict(
    data_preprocessor=dict(mean=[103.53, 116.28, 123.675], std=[1., 1., 1.], bgr_to_rgb=False),
    backbone=dict(type='ResT', out_indices=(1, 2, 3)),
    neck=dict(start_level=0, relu_before_extra_convs=True))
