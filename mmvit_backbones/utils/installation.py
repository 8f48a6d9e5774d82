"""Tells which OpenMMLab distributions are installed, and where the configs of this package are."""
from importlib.metadata import distributions
from pathlib import Path

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


def config_folder() -> Path:
    """Returns the folder of this package's configs, in an installation or a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / '.mim' / 'configs'
    return installed if installed.is_dir() else package.parent / 'configs'
