# Mask R-CNN for networks with a single map, with a simple feature pyramid as in ViTDet (arXiv 2203.16527).
_base_ = './mask_rcnn.py'
model = dict(neck=dict(_delete_=True, type='SimpleFeaturePyramid'))
