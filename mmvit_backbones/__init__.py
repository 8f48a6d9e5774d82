"""Vision-transformer backbones for dense prediction with OpenMMLab.

Importing the package registers all modules in MMEngine's root registries. It also registers the ``official://``
prefix for checkpoints that the authors of the networks published.

Raises:
    ModuleNotFoundError: If MMEngine is not installed. It is not a requirement of this package, because upstream's
        distribution and its fork install the same files.
"""
import getpass
import os

from .version import __version__

try:
    getpass.getuser()
except (ImportError, KeyError, OSError):  # e.g. `docker run --user 1000`; torchvision's import needs a name of the user
    os.environ['USER'] = f'user{os.getuid() if hasattr(os, "getuid") else ""}'
try:
    import mmengine  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != 'mmengine':
        raise
    raise ModuleNotFoundError(
        'mmvit_backbones needs MMEngine: `pip install mmengine`, or for the newest PyTorch its fork: '
        '`pip install onedl-mmengine opencv-python-headless`', name='mmengine') from None

from . import backbones, datasets, engine, evaluation, heads, losses, necks  # noqa: F401
from .zoo import convert_state_dict, get_model, list_models

__all__ = ['__version__', 'convert_state_dict', 'get_model', 'list_models']
