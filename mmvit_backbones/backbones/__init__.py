"""The networks, one file each; importing this package registers them in MMEngine's root ``MODELS``."""
from .base import Backbone
from .regionvit import RegionViT
from .reswin import ReSwin
from .vitae import ViTAE
from .vitaev2 import ViTAEv2

__all__ = ['Backbone', 'ReSwin', 'RegionViT', 'ViTAE', 'ViTAEv2']
