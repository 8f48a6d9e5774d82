_base_ = './_base_/transfer_cars.py'
pretrained = dict(type='Pretrained', checkpoint='official://vitaev2_small')
model = dict(
    backbone=dict(type='ViTAEv2', arch='small', drop_path_rate=0.1, init_cfg=pretrained), head=dict(in_channels=512))
