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
