# Published for Swin-T with VSA, before the code: mIoU 80.8 after 40,000 iterations (multi-scale and flip: 81.7). No
# weights are published, so train configs/imagenet_swin_vsa_t.py first.
_base_ = ['./_base_/models/upernet_cityscapes.py', './_base_/datasets/cityscapes.py',
          './_base_/schedules/cityscapes_40k.py', './_base_/mmseg_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='work_dirs/imagenet_swin_vsa_t/epoch_300.pth', prefix='backbone.')
model = dict(
    backbone=dict(type='SwinVSA', arch='tiny', drop_path_rate=0.3, init_cfg=pretrained),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384))
