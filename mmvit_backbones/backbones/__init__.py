"""The networks, one file each; importing this package registers them in MMEngine's root ``MODELS``."""
from .base import Backbone
from .rest import ResT
from .restv2 import ResTv2
from .reswin import ReSwin

__all__ = ['Backbone', 'ReSwin', 'ResT', 'ResTv2']
