"""Vision-transformer backbones for dense prediction with OpenMMLab.

Importing the package registers all modules in MMEngine's root registries. It also registers the ``official://``
prefix for checkpoints that the authors of the networks published.
"""
from .version import __version__

try:
    import mmengine  # noqa: F401
except ModuleNotFoundError:
    __all__ = ['__version__']  # mmvit_backbones.ops works without MMEngine
else:
    from . import backbones, data, heads, losses, necks, training  # noqa: F401
    from .zoo import convert_state_dict, get_model, list_models

    __all__ = ['__version__', 'convert_state_dict', 'get_model', 'list_models']
