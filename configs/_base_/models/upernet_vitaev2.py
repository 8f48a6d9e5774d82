# Test images are padded to multiples of 32, as in the authors' test.
_base_ = './upernet.py'
model = dict(data_preprocessor=dict(test_cfg=dict(size_divisor=32)))
