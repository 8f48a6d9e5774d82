_base_ = '../_base_/demo_upernet.py'
model = dict(backbone=dict(_delete_=True, type='ReSwin', arch='tiny', drop_path_rate=0.))
