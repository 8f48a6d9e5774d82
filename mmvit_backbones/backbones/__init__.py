"""The networks, one file each; importing this package registers them in MMEngine's root ``MODELS``.

What a file here registers can be imported from the package, too: ``from mmvit_backbones.backbones import ReSwin``.
"""
import pkgutil
from importlib import import_module

from mmengine.registry import MODELS

from .base import Backbone

for _module in pkgutil.iter_modules(__path__):
    import_module(f'{__name__}.{_module.name}')
NETWORKS = {name: network for name, network in MODELS.module_dict.items() if network.__module__.startswith(__name__)}
globals().update(NETWORKS)
__all__ = ['Backbone', *NETWORKS]
