# On Cityscapes, results are published only for the variant with windows in all stages, whose recipe is used here.
_base_ = ['./_base_/models/upernet_cityscapes.py', './_base_/datasets/cityscapes.py',
          './_base_/schedules/cityscapes_40k.py', './_base_/mmseg_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://vitaev2_small')
model = dict(
    backbone=dict(type='ViTAEv2', arch='small', drop_path_rate=0.2, init_cfg=pretrained),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256))
