# ResTv2 with stage-wise learning rate decay: the last stage has 0.9 times the learning rate of the heads, and the stem
# 0.9 ** 5 times. The authors' code of this decay is not published. Test images keep their size; the authors resized
# them to multiples of 32.
_base_ = './ade20k_160k.py'
optim_wrapper = dict(
    constructor='LayerDecayConstructor',
    optimizer=dict(lr=1.5e-4, weight_decay=0.05),
    paramwise_cfg=dict(_delete_=True, decay_rate=0.9, decay_type='stage_wise'))
