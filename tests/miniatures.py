"""Every network in a size that builds and trains in a moment: arguments of the backbone, by its registered name.

All that a network can do must occur: several blocks and heads, every kind of layer, and as many stages as the real one.
"""
MINIATURES = {
    'ReSwin': dict(arch=dict(embed_dims=16, depths=[2, 2, 3, 2], num_heads=[1, 2, 4, 8], window_size=7, mlp_ratio=2)),
}
