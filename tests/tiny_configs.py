"""Loads the backbone arguments of a tiny version of every network, by registered name.

The arguments are in ``goldens/FAMILY/tiny_configs.yml``. Tiny networks must cover all features of the real networks:
several blocks and heads, every kind of layer, and the same number of stages. If a network has two architectures, the
config of the second has an explicit ``type``.
"""
from pathlib import Path

import yaml

FILES = sorted(Path(__file__).parent.glob('goldens/*/tiny_configs.yml'))
TINY_CONFIGS = {network: config for file in FILES for network, config in yaml.safe_load(file.read_text()).items()}
# A variant of each network; tests replace its backbone arguments with the tiny ones.
NAMES = {'RefinerViT': 'refiner_vit_small', 'RegionViT': 'regionvit_tiny', 'ResT': 'rest_lite', 'ResTv2': 'restv2_tiny',
         'ReSwin': 'reswin_tiny', 'SwinVSA': 'swin_vsa_tiny', 'ReMViTv2': 'remvitv2_tiny', 'ReViT': 'revit_base',
         'ViTAE': 'vitae_tiny', 'ViTAE, plain': 'vitae_base', 'ViTAEv2': 'vitaev2_small',
         'ViTAEv2VSA': 'vitaev2_vsa_small'}
