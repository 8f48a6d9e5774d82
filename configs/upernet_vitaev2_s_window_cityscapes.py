# Published: mIoU 80.1 after 40,000 iterations. The drop path rate is not published; it is the same as for ADE20K. No
# weights are published, so train configs/imagenet_vitaev2_s_window.py first.
_base_ = ['./_base_/models/upernet_cityscapes.py', './_base_/datasets/cityscapes.py',
          './_base_/schedules/cityscapes_40k.py', './_base_/mmseg_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='work_dirs/imagenet_vitaev2_s_window', prefix='backbone.')
model = dict(
    backbone=dict(type='ViTAEv2', arch='small_window', drop_path_rate=0.2, init_cfg=pretrained),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256))
