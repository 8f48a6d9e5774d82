"""Every network in a size that builds and trains in a moment: arguments of the backbone, by its registered name.

All that a network can do must occur: several blocks and heads, every kind of layer, and as many stages as the real one.
A network that comes in two kinds has a config of each; the second names its type.
"""
TINY_CONFIGS = {
    'RefinerViT': dict(img_size=64, arch=dict(embed_dims=16, depth=8, num_heads=2, mlp_ratio=2)),
    'RegionViT': dict(
        arch=dict(local_embed='3conv', embed_dims=16, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8], mlp_ratio=2.),
        window_size=(4, 4, 7, 7), peg=True, stage_norm=True),
    # Output norms at the side: in the stream, the maps depend on which are asked for (tests/test_rest.py).
    'ResT': dict(
        arch=dict(embed_dims=16, depths=[1, 2, 2, 1], num_heads=[1, 2, 4, 8], reductions=[8, 4, 2, 1], mlp_ratio=2),
        out_norm='side'),
    'ResTv2': dict(
        arch=dict(embed_dims=16, depths=[1, 2, 2, 1], num_heads=[1, 2, 4, 8], reductions=[8, 4, 2, 1], mlp_ratio=2)),
    'ReSwin': dict(arch=dict(embed_dims=16, depths=[1, 2, 2, 1], num_heads=[1, 2, 4, 8], window_size=7, mlp_ratio=2)),
    'SwinVSA': dict(arch=dict(embed_dims=16, depths=[1, 2, 2, 1], num_heads=[1, 2, 4, 8], window_size=7, mlp_ratio=2)),
    'ReMViTv2': dict(arch=dict(embed_dims=16, depths=[1, 2, 2, 1], num_heads=[1, 2, 4, 8], mlp_ratio=2), img_size=64),
    'ReViT': dict(arch=dict(embed_dims=48, depth=3, num_heads=2, mlp_ratio=4), img_size=64),
    'ViTAE': dict(arch=dict(embed_dims=[16, 16, 32], pyramid_dims=[8, 8, 16], depth=3, num_heads=2, groups=8,
                            mlp_ratio=2)),
    'ViTAE, plain': dict(type='ViTAE', img_size=64, arch=dict(embed_dims=[32], pyramid_dims=[], depth=3, num_heads=2,
                                                              groups=8, mlp_ratio=2)),
    'ViTAEv2': dict(arch=dict(embed_dims=[16, 32, 64, 128], pyramid_dims=[8, 16, 32, 64], depths=[1, 1, 2, 1],
                              num_heads=[1, 2, 4, 8], reduction_heads=[1, 1, 2, 4],
                              attention=['window', 'window', 'global', 'global'])),
    'ViTAEv2VSA': dict(arch=dict(embed_dims=[16, 32, 64, 128], pyramid_dims=[8, 16, 32, 64], depths=[1, 1, 2, 1],
                                 num_heads=[1, 2, 4, 8], reduction_heads=[1, 2, 4, 8], wide_conv=True)),
}
