# The tiny ResTv2's: AdamW 6e-5 without decay by stages. The batch norms of the stem are decayed, as published: they are
# not called norms there.
_base_ = './ade20k_160k.py'
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            'patch_embeds.0.norm1': dict(decay_mult=1.),
            'patch_embeds.0.norm2': dict(decay_mult=1.),
        }))
