"""Loads the backbone arguments of a tiny version of every network, by registered name, name of the family, or any name.

The arguments are in ``goldens/FAMILY/tiny_configs.yml``. Tiny networks must cover all features of the real networks:
several blocks and heads, every kind of layer, and the same number of stages. A network can have further entries, with
an explicit ``type``, for other architectures and for options that add parameters.
"""
from pathlib import Path

import yaml

from mmvit_backbones.zoo.variants import VARIANTS

FILES = sorted(Path(__file__).parents[1].glob('goldens/*/tiny_configs.yml'))
READ = {file.parent: yaml.safe_load(file.read_text()) for file in FILES}
TINY_CONFIGS = {network: config for configs in READ.values() for network, config in configs.items()}
FOLDERS = {network: folder for folder, configs in READ.items() for network in configs}


def first_variant(network: str) -> str:
    """Returns the first variant of the family with this name, or of the network with this type."""
    names = network, TINY_CONFIGS[network].get('type', network)
    found = [variant.name for name in names for variant in VARIANTS.values()
             if name in (variant.family.name, variant.family.backbone)]
    if not found:
        types = ', '.join(sorted({variant.family.backbone for variant in VARIANTS.values()}))
        raise ValueError(f'{FOLDERS[network]}/tiny_configs.yml: {network} must be the name of a family or network, or '
                         f'have a type: one of {types}')
    return found[0]


# Tests replace the backbone arguments of these variants with the tiny ones.
NAMES = {network: first_variant(network) for network in TINY_CONFIGS}


def shallow(network: str, depth: int, first: int = 1) -> dict:
    """Returns the settings of a network of at most two stages, of ``first`` and ``depth`` blocks.

    The first has other channels, and the second another size of what the one before it passes on.
    """
    arch = TINY_CONFIGS[network]['arch']
    if network == 'RefinerViT':
        return dict(arch=dict(arch, depth=8 * (depth - 1)))
    if 'depth' in arch:
        return dict(arch=dict(arch, depth=depth))
    if 'reduction_heads' in arch:
        return dict(arch=dict(arch, depths=[depth, 0, 0, 0]))
    short = {key: value[:2] for key, value in arch.items() if isinstance(value, list)}
    others = dict(window_size=[4, 7]) if network == 'RegionViT' else {}
    return dict(arch={**arch, **short, 'depths': [first, depth]}, out_indices=(0, 1), **others)
