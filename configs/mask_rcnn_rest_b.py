# Published: box AP 41.6, mask AP 38.7. Unlike the pretraining, the published detector reads BGR and does not
# divide. Fetch the published ImageNet weights (README: "Weights") into the file named below, or train from
# nothing with --cfg-options model.backbone.init_cfg=None.
_base_ = './_base_/mask_rcnn_rest.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/rest_base.pth')
model = dict(
    data_preprocessor=dict(mean=[103.53, 116.28, 123.675], std=[1., 1., 1.], bgr_to_rgb=False),
    backbone=dict(_delete_=True, type='ResT', arch='base', drop_path_rate=0.2, init_cfg=pretrained),
    neck=dict(in_channels=[96, 192, 384, 768]))
