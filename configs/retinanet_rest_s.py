# Published: box AP 40.3. Fetch the published ImageNet weights (README: "Weights") into the file named below,
# or train from nothing with --cfg-options model.backbone.init_cfg=None.
_base_ = './_base_/retinanet_rest.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/rest_small.pth')
model = dict(
    backbone=dict(
        _delete_=True, type='ResT', arch='small', out_indices=(1, 2, 3), drop_path_rate=0.1, init_cfg=pretrained),
    neck=dict(in_channels=[128, 256, 512]))
