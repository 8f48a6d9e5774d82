"""Backbones, one file per network; importing this package registers them in MMEngine's root ``MODELS``."""
# Written by tools/dev/make_metafiles.py from zoo/variants.yml.
from .base import Backbone
from .refiner_vit import RefinerViT
from .regionvit import RegionViT
from .remvitv2 import ReMViTv2
from .rest import ResT
from .restv2 import ResTv2
from .reswin import ReSwin
from .revit import ReViT
from .swin_vsa import SwinVSA
from .vitae import ViTAE
from .vitaev2 import ViTAEv2
from .vitaev2_vsa import ViTAEv2VSA

__all__ = [
    'Backbone', 'ReMViTv2', 'ReSwin', 'ReViT', 'RefinerViT', 'RegionViT', 'ResT', 'ResTv2', 'SwinVSA', 'ViTAE',
    'ViTAEv2', 'ViTAEv2VSA'
]
