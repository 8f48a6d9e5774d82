"""Loads the backbone arguments of a tiny version of every network, by registered name or name of the family.

The arguments are in ``goldens/FAMILY/tiny_configs.yml``. Tiny networks must cover all features of the real networks:
several blocks and heads, every kind of layer, and the same number of stages. If a network has two architectures, the
config of the second has an explicit ``type``.
"""
from pathlib import Path

import yaml

from mmvit_backbones.zoo.variants import VARIANTS

READ = {file.parent: yaml.safe_load(file.read_text())
        for file in sorted(Path(__file__).parent.glob('goldens/*/tiny_configs.yml'))}
TINY_CONFIGS = {network: config for configs in READ.values() for network, config in configs.items()}
FOLDERS = {network: folder for folder, configs in READ.items() for network in configs}
# The first variant of each network; tests replace its backbone arguments with the tiny ones.
NAMES = {network: next(variant.name for variant in VARIANTS.values()
                       if network in (variant.family.name, variant.family.backbone)) for network in TINY_CONFIGS}
