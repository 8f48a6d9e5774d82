# ResTv2-T: AdamW at 6e-5, without stage-wise decay. The stem's batch norms have weight decay, as in the authors' code,
# where they are not named norm.
_base_ = './ade20k_160k.py'
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            'patch_embeds.0.norm1': dict(decay_mult=1.),
            'patch_embeds.0.norm2': dict(decay_mult=1.),
        }))
