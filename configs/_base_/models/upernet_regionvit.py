# RegionViT with output norms, as for detection.
_base_ = './upernet.py'
model = dict(backbone=dict(type='RegionViT', stage_norm=True, drop_path_rate=0.3))
