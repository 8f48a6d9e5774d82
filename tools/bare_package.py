"""Lets operators and layers be imported where there is torch but no MMEngine, as on a GPU machine lent for an hour.

Importing this module is enough (for pytest: ``-p bare_package``). Where MMEngine is installed it changes nothing.
"""
import importlib.util
import sys
import types
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / 'mmvit_backbones'


def stand_in() -> None:
    """The package without its ``__init__``, which registers networks with MMEngine, and MMEngine's logging."""
    package = types.ModuleType('mmvit_backbones')
    package.__path__ = [str(PACKAGE)]
    mmengine, logging = types.ModuleType('mmengine'), types.ModuleType('mmengine.logging')
    logging.print_log = lambda message, **_: print(message)
    mmengine.logging = logging
    sys.modules.update({'mmvit_backbones': package, 'mmengine': mmengine, 'mmengine.logging': logging})


if importlib.util.find_spec('mmengine') is None:
    stand_in()
elif str(PACKAGE.parent) not in sys.path:
    sys.path.insert(0, str(PACKAGE.parent))
