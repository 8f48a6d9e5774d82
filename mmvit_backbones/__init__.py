"""Vision-transformer backbones for dense prediction with OpenMMLab.

Importing the package registers everything in MMEngine's root registries, and the ``official://`` prefix for the
authors' checkpoints.
"""
from .installation import check_distributions

check_distributions()

from . import backbones, datasets, evaluation, heads, losses, necks  # noqa: E402,F401
from .engine import layer_decay  # noqa: E402,F401
from .models import convert_state_dict, get_model  # noqa: E402
from .version import __version__  # noqa: E402
from .zoo import list_models  # noqa: E402

__all__ = ['__version__', 'convert_state_dict', 'get_model', 'list_models']
