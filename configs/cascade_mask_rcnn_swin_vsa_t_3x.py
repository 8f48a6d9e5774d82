# Published for Swin-T with VSA, before the code: box AP 51.3, mask AP 44.6. The recipe is taken from ViTAEv2-VSA-S. No
# weights are published, so train configs/imagenet_swin_vsa_t.py first.
_base_ = ['./_base_/models/cascade_mask_rcnn.py', './_base_/datasets/coco_instance_multiscale.py',
          './_base_/schedules/coco_3x_warmup500.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='work_dirs/imagenet_swin_vsa_t/epoch_300.pth', prefix='backbone.')
model = dict(
    backbone=dict(type='SwinVSA', arch='tiny', drop_path_rate=0.25, init_cfg=pretrained),
    neck=dict(in_channels=[96, 192, 384, 768]))
