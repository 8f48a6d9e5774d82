# Published for Swin-T with VSA: 82.24 %, without code; the recipe is Swin's. 8 GPUs x 128 images.
_base_ = './_base_/imagenet_swin.py'
model = dict(backbone=dict(type='SwinVSA', arch='tiny', out_indices=3, drop_path_rate=0.2), head=dict(in_channels=768))
