"""Vision-transformer backbones for dense prediction with OpenMMLab.

Importing the package registers everything in MMEngine's root registries, and the ``official://`` prefix for the
authors' checkpoints.
"""
from . import backbones, datasets, engine, evaluation, heads, losses, necks  # noqa: F401
from .accelerate import accelerate
from .checkpoints.loading import convert_state_dict
from .models import get_model
from .version import __version__
from .zoo import list_models

__all__ = ['__version__', 'accelerate', 'convert_state_dict', 'get_model', 'list_models']
