# ResTv2: the rate falls from stage to stage. The authors' constructor of the stage-wise decay is not shipped; here
# the last stage has 0.9 times the rate of the heads, and the stem 0.9 ** 5. Whole images are tested as they are, where
# the authors' were resized to multiples of 32.
_base_ = './ade20k_160k.py'
optim_wrapper = dict(
    constructor='LayerDecayConstructor',
    optimizer=dict(lr=1.5e-4, weight_decay=0.05),
    paramwise_cfg=dict(_delete_=True, decay_rate=0.9, decay_type='stage_wise'))
