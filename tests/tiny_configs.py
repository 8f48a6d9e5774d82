"""Small versions of every network: arguments of the backbone, by its registered name.

``goldens/FAMILY/tiny_configs.yml`` has them. All that a network can do must occur: several blocks and heads, every kind
of layer, and as many stages as the real one. A network that comes in two kinds has a config of each; the second names
its type.
"""
from pathlib import Path

import yaml

FILES = sorted(Path(__file__).parent.glob('goldens/*/tiny_configs.yml'))
TINY_CONFIGS = {network: config for file in FILES for network, config in yaml.safe_load(file.read_text()).items()}
# One variant for each, whose size is overridden.
NAMES = {'RefinerViT': 'refiner_vit_small', 'RegionViT': 'regionvit_tiny', 'ResT': 'rest_lite', 'ResTv2': 'restv2_tiny',
         'ReSwin': 'reswin_tiny', 'SwinVSA': 'swin_vsa_tiny', 'ReMViTv2': 'remvitv2_tiny', 'ReViT': 'revit_base',
         'ViTAE': 'vitae_tiny', 'ViTAE, plain': 'vitae_base', 'ViTAEv2': 'vitaev2_small',
         'ViTAEv2VSA': 'vitaev2_vsa_small'}
