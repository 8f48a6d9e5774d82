# Published: box AP 46.3, mask AP 42.4.
_base_ = ['./_base_/models/mask_rcnn_regionvit.py', './_base_/datasets/coco_instance_regionvit_1x_dagger.py',
          './_base_/schedules/coco_regionvit_1x.py', './_base_/mmdet_runtime_by_iter.py']
pretrained = dict(type='Pretrained', checkpoint='official://regionvit_base')
model = dict(
    backbone=dict(arch='base', window_size=14, peg=True, init_cfg=pretrained),
    neck=dict(in_channels=[128, 256, 512, 1024]))
