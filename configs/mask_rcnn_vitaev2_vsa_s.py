# Published: 45.9 / 41.4 box / mask AP. Windows as in the authors' detector.
_base_ = './_base_/mask_rcnn_multiscale.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/vitaev2_vsa_small.pth')
model = dict(
    backbone=dict(
        _delete_=True, type='ViTAEv2VSA', arch='small', window_padding='center', offset_divisor='other_axis',
        drop_path_rate=0.1, init_cfg=pretrained),
    neck=dict(in_channels=[64, 128, 256, 512]))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'conv_branch.norms': dict(decay_mult=1.)}))
