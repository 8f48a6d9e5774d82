# Published: mIoU 81.4 after 40,000 iterations, code not shipped. Drop path is that of ADE20K.
_base_ = './upernet_vitaev2_s_cityscapes.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/vitaev2_vsa_small.pth')
model = dict(
    backbone=dict(
        _delete_=True, type='ViTAEv2VSA', arch='small', window_padding='center', offset_divisor='other_axis',
        drop_path_rate=0.2, init_cfg=pretrained))
