# UperNet for networks with a single map, with a simple feature pyramid as in ViTDet (arXiv 2203.16527).
_base_ = './upernet.py'
model = dict(
    neck=dict(type='SimpleFeaturePyramid', num_outs=4),
    decode_head=dict(in_channels=[256, 256, 256, 256]),
    auxiliary_head=dict(in_channels=256))
