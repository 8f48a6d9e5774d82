# Varied-size windows as in the authors' detector.
_base_ = './upernet_vitaev2.py'
model = dict(
    backbone=dict(type='ViTAEv2VSA', window_padding='center', offset_divisor='other_axis', drop_path_rate=0.2))
