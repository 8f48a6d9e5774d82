"""Every network in a size that builds and trains in a moment: arguments of the backbone, by its registered name.

All that a network can do must occur: several blocks and heads, every kind of layer, and as many stages as the real one.
"""
MINIATURES = {
    # Output norms at the side: in the stream, the maps depend on which are asked for (tests/test_rest.py).
    'ResT': dict(
        arch=dict(embed_dims=16, depths=[2, 2, 3, 2], num_heads=[1, 2, 4, 8], reductions=[8, 4, 2, 1], mlp_ratio=2),
        out_norm='side'),
    'ResTv2': dict(
        arch=dict(embed_dims=16, depths=[2, 2, 3, 2], num_heads=[1, 2, 4, 8], reductions=[8, 4, 2, 1], mlp_ratio=2)),
    'ReSwin': dict(arch=dict(embed_dims=16, depths=[2, 2, 3, 2], num_heads=[1, 2, 4, 8], window_size=7, mlp_ratio=2)),
}
