"""The networks, one file each; importing this package registers them in MMEngine's root ``MODELS``."""
from .base import Backbone
from .regionvit import RegionViT
from .reswin import ReSwin

__all__ = ['Backbone', 'ReSwin', 'RegionViT']
