"""Detects installed distributions that overwrite each other's files."""
from importlib.metadata import distributions

# Package -> distributions that provide the package, the maintained fork first.
PROVIDERS = {
    'mmengine': ('onedl-mmengine', 'mmengine', 'mmengine-lite'),
    'mmcv': ('onedl-mmcv', 'mmcv', 'mmcv-lite', 'mmcv-full'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
    'mmpretrain': ('onedl-mmpretrain', 'mmpretrain'),
}


def find_conflicts(**where):
    """Returns a message per package that several distributions install; ``path=[...]`` replaces ``sys.path``."""
    found = []
    for package, names in PROVIDERS.items():
        installed = [name for name in names if any(distributions(name=name, **where))]
        if len(installed) > 1:
            number = 'both' if len(installed) == 2 else 'all'
            found.append(f'{" and ".join(installed)} {number} install the package {package}; '
                         f'run `pip uninstall {" ".join(installed)}` and install one of them again')
    return found
