_base_ = './_base_/transfer_cars.py'
pretrained = dict(type='Pretrained', checkpoint='official://reswin_tiny')
model = dict(
    backbone=dict(type='ReSwin', arch='tiny', drop_path_rate=0.2, init_cfg=pretrained), head=dict(in_channels=768))
