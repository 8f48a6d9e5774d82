# The pyramid has the maps of stages 2 to 4 and two more levels, with a ReLU in between as in detectron2. As in the
# published detectors but not in pretraining, images are BGR and are not divided by the standard deviation.
_base_ = './retinanet.py'
model = dict(
    data_preprocessor=dict(mean=[103.53, 116.28, 123.675], std=[1., 1., 1.], bgr_to_rgb=False),
    backbone=dict(type='ResT', out_indices=(1, 2, 3)),
    neck=dict(start_level=0, relu_before_extra_convs=True))
