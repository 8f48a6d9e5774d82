"""Tells which OpenMMLab distributions are installed, and where the configs of this package are."""
from collections import defaultdict
from importlib import import_module
from importlib.metadata import distributions
from importlib.util import find_spec
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
    """Returns a message per folder into which several distributions install; ``path=[...]`` replaces ``sys.path``."""
    folders = defaultdict(dict)  # a package and its folder -> names of distributions
    for package, names in PROVIDERS.items():
        for name in names:
            for entry in distributions(name=name, **where):
                folders[package, Path(str(entry.locate_file(package))).resolve()][name] = None
    return [f'{package}: {" and ".join(names)} overwrite each other\'s files; '
            f'run `pip uninstall {" ".join(names)}` and install one of them again'
            for (package, _), names in folders.items() if len(names) > 1]


def describe_operators() -> tuple[str, bool]:
    """Returns what runs the operators of mmcv, or how to get them, and whether mmcv works with it."""
    command = 'python -m mmvit_backbones.integrations.mmcv_ops'
    spec = find_spec('mmcv')
    folders = spec.submodule_search_locations or () if spec else ()
    if not any(Path(folder, '__init__.py').exists() for folder in folders):
        is_left = any(Path(folder, '_ext.py').exists() for folder in folders)
        return (f'a rest of this package without mmcv; {command} --remove' if is_left else 'without mmcv'), not is_left
    try:
        operators = import_module('mmcv._ext')
    except ModuleNotFoundError as error:
        return f'missing ({error}); {command}', False
    except Exception as error:  # e.g. compiled for another PyTorch
        return f'cannot be loaded: {first_line(error)}; {command}', False
    file, mark = Path(str(operators.__file__)), '# Written by '
    if file.suffix == '.py':
        line = file.read_text(encoding='utf-8').partition('\n')[0]
        return f'in Python, by {line.removeprefix(mark) if line.startswith(mark) else file}', True
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
