# Published: mIoU 44.95, or 47.98 with multi-scale and flip. The best mIoU in the authors' log is 45.08.
_base_ = ['./_base_/models/upernet_vitaev2.py', './_base_/datasets/ade20k.py',
          './_base_/schedules/ade20k_160k_vitae.py', './_base_/mmseg_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='official://vitaev2_small')
model = dict(
    backbone=dict(type='ViTAEv2', arch='small', drop_path_rate=0.2, init_cfg=pretrained),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256))
