# RegionViT with output norms, as for detection.
_base_ = './semantic_fpn.py'
model = dict(backbone=dict(type='RegionViT', stage_norm=True, drop_path_rate=0.2))
