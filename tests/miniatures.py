"""Every network in a size that builds and trains in a moment: arguments of the backbone, by its registered name.

All that a network can do must occur: several blocks and heads, every kind of layer, and as many stages as the real one.
"""
MINIATURES = {
    'RegionViT': dict(
        arch=dict(local_embed='3conv', embed_dims=16, depths=[1, 2, 3, 2], num_heads=[1, 2, 4, 8], mlp_ratio=2.),
        window_size=(4, 4, 7, 7), peg=True, stage_norm=True),
    'ReSwin': dict(arch=dict(embed_dims=16, depths=[2, 2, 3, 2], num_heads=[1, 2, 4, 8], window_size=7, mlp_ratio=2)),
}
