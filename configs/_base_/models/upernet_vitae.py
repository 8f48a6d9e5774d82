# UperNet for ViTAE, which has three maps.
_base_ = './upernet.py'
model = dict(backbone=dict(type='ViTAE', drop_path_rate=0.2), decode_head=dict(in_index=[0, 1, 2]))
