# Mask R-CNN with RegionViT; data and schedule come from coco_regionvit_*.py.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'
model = dict(
    # Images are RGB, mean and deviation BGR: so are the published detectors.
    data_preprocessor=dict(mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395], bgr_to_rgb=True),
    backbone=dict(_delete_=True, type='RegionViT', window_size=7, stage_norm=True, drop_path_rate=0.2))
