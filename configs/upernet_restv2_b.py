# Published: mIoU 49.6 (several scales and flipped). Fetch the published ImageNet weights (README: "Weights")
# into the file named below, or train from nothing with --cfg-options model.backbone.init_cfg=None. Whole
# pictures are tested as they are, where the authors' were resized to multiples of 32. The authors'
# constructor of the stage-wise decay is not shipped; here the last stage has 0.9 times the rate of the heads,
# and the stem 0.9 ** 5.
_base_ = './_base_/upernet.py'
pretrained = dict(type='Pretrained', checkpoint='official://checkpoints/restv2_base_224.pth')
model = dict(
    backbone=dict(type='ResTv2', arch='base', drop_path_rate=0.3, init_cfg=pretrained),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384))
optim_wrapper = dict(
    constructor='LayerDecayConstructor',
    optimizer=dict(lr=1.5e-4, weight_decay=0.05),
    paramwise_cfg=dict(_delete_=True, decay_rate=0.9, decay_type='stage_wise'))
