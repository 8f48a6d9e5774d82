"""``python -m mmvit_backbones.doctor``: which frameworks and operator backends run here, and what the others lack."""
import platform
import sys
from contextlib import redirect_stdout
from importlib import import_module
from importlib.metadata import distributions

import torch

from .installation import PROVIDERS
from .ops import library
from .version import __version__

EXTRAS = dict(mmcv='all', mmdet='det', mmseg='seg', mmpretrain='cls', mmpose='pose')


def describe_host(package: str) -> str:
    """Whether a package of OpenMMLab is installed, by which distribution, and whether it can be imported."""
    found = [entry for name in PROVIDERS[package] for entry in distributions(name=name)]
    if not found:
        more = ' and what docs/pose.md says' if package == 'mmpose' else ''  # pip alone cannot install it
        return f"{package}: not installed; pip install 'mmvit_backbones[{EXTRAS[package]}]'{more}"
    title = f'{package} {found[0].version} ({found[0].metadata["Name"]})'
    try:
        with redirect_stdout(sys.stderr):  # some print what optional parts they lack
            import_module('mmcv.ops' if package == 'mmcv' else package)
    except Exception as error:  # anything may go wrong in a broken environment
        reason = str(error).strip().split('\n')[0]
        return f'{title}: cannot be imported, {type(error).__name__}: {reason}; see docs/troubleshooting.md'
    return f'{title}: runs'


def describe() -> list[str]:
    """The findings, one line each."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'
    lines = [
        f'mmvit_backbones {__version__}, torch {torch.__version__}, Python {platform.python_version()}, GPU: {gpu}',
        *map(describe_host, EXTRAS),
        'varied-size windows, plain PyTorch: runs everywhere',
    ]
    for backend, title in (('cpp', 'C++ (CPU)'), ('cuda', 'CUDA')):
        reason = library.MISSING[backend]
        if reason is None and backend == 'cuda' and gpu == 'none':
            lines.append(f'varied-size windows, {title}: built, but there is no GPU')
        elif reason is None:
            lines.append(f'varied-size windows, {title}: runs')
        else:
            lines.append(f'varied-size windows, {title}: missing, {reason}; {library.HOW_TO_BUILD}')
    for device, backend in (('CPU', 'cpp'), ('CUDA', 'cuda')):
        runs = backend if library.MISSING[backend] is None else 'reference'
        lines.append(f'{device} tensors take the backend {runs!r}')
    return lines


if __name__ == '__main__':
    print('\n'.join(describe()))
