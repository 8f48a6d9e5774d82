"""Tells which OpenMMLab distributions are installed, and where the configs of this package are."""
from importlib import import_module
from importlib.metadata import distributions
from pathlib import Path

import torch

from ..errors import first_line

# Package -> distributions that provide the package, upstream's first and its maintained fork second.
PROVIDERS = {
    'mmengine': ('mmengine', 'onedl-mmengine', 'mmengine-lite'),
    'mmcv': ('mmcv', 'onedl-mmcv', 'mmcv-lite', 'mmcv-full'),
    'mmdet': ('mmdet', 'onedl-mmdetection'),
    'mmseg': ('mmsegmentation', 'onedl-mmsegmentation'),
    'mmpretrain': ('mmpretrain', 'onedl-mmpretrain'),
}


def install_command(package: str) -> str:
    """Returns the command that installs a package; one of OpenMMLab's fits the installed MMEngine."""
    fork = any(distributions(name='onedl-mmengine'))
    return f'pip install {PROVIDERS[package][fork] if package in PROVIDERS else package}'


def find_conflicts(**where) -> list[str]:
    """Returns a message per package that several distributions install; ``path=[...]`` replaces ``sys.path``."""
    found = []
    for package, names in PROVIDERS.items():
        installed = [name for name in names if any(distributions(name=name, **where))]
        if len(installed) > 1:
            found.append(f'{package}: {" and ".join(installed)} overwrite each other\'s files; '
                         f'run `pip uninstall {" ".join(installed)}` and install one of them again')
    return found


def describe_operators() -> tuple[str, bool]:
    """Returns what runs the operators of mmcv, or how to get them, and whether mmcv works with it."""
    command = 'python -m mmvit_backbones.integrations.mmcv_ops'
    ours = next(iter(distributions(name='mmvit-mmcv-ops')), None)
    if not any(any(distributions(name=name)) for name in PROVIDERS['mmcv']):
        return (f'a rest of this package without mmcv; {command} --remove' if ours else 'without mmcv'), not ours
    try:
        operators = import_module('mmcv._ext')
    except ModuleNotFoundError as error:
        return f'missing ({error}); {command}', False
    except Exception as error:  # e.g. compiled for another PyTorch
        return f'cannot be loaded: {first_line(error)}; {command}', False
    if str(operators.__file__).endswith('.py'):
        return f'in Python, by {f"this package ({ours.version})" if ours else operators.__file__}', True
    cuda = operators.get_compiling_cuda_version()
    if cuda != 'not available':
        return f'compiled (CPU, CUDA {cuda})', True
    lacks_gpu = torch.cuda.is_available()
    return 'compiled (CPU)' + f', without the GPU that is here; {command}' * lacks_gpu, not lacks_gpu


def config_folder() -> Path:
    """Returns the folder of this package's configs, in an installation or a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / '.mim' / 'configs'
    return installed if installed.is_dir() else package.parent / 'configs'
