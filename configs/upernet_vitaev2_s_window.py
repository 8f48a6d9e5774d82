# No results are published for this network on ADE20K. The recipe is taken from ViTAEv2-S. No weights are published, so
# train configs/imagenet_vitaev2_s_window.py first.
_base_ = ['./_base_/models/upernet_vitaev2.py', './_base_/datasets/ade20k.py',
          './_base_/schedules/ade20k_160k_vitae.py', './_base_/mmseg_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='work_dirs/imagenet_vitaev2_s_window', prefix='backbone.')
model = dict(
    backbone=dict(type='ViTAEv2', arch='small_window', drop_path_rate=0.2, init_cfg=pretrained),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256))
