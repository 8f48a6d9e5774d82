# Varied-size windows as in the authors' detector.
_base_ = './cascade_mask_rcnn.py'
model = dict(backbone=dict(type='ViTAEv2VSA', window_padding='center', offset_divisor='other_axis'))
