# No results are published for Swin-T with VSA and RetinaNet. The recipe is taken from ViTAEv2-VSA-S. The backbone does
# not return its finest map, because the norm of this map would get no gradient. No weights are published, so train
# configs/imagenet_swin_vsa_t.py first.
_base_ = ['./_base_/models/retinanet.py', './_base_/datasets/coco_detection_multiscale.py',
          './_base_/schedules/coco_1x_warmup500.py', './_base_/mmdet_runtime.py']
pretrained = dict(type='Pretrained', checkpoint='work_dirs/imagenet_swin_vsa_t/epoch_300.pth', prefix='backbone.')
model = dict(
    backbone=dict(type='SwinVSA', arch='tiny', out_indices=(1, 2, 3), drop_path_rate=0.15, init_cfg=pretrained),
    neck=dict(in_channels=[192, 384, 768], start_level=0))
