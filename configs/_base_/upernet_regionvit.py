# UperNet with RegionViT as it is for dense prediction. The recipe is mmseg's for Swin-T, except that tables of the
# position bias are decayed, as the authors do everywhere.
_base_ = './upernet.py'
model = dict(backbone=dict(type='RegionViT', window_size=7, stage_norm=True, drop_path_rate=0.3))
