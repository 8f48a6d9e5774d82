"""``python -m mmvit_backbones.doctor``: checks frameworks and operator dispatch."""
import platform
import sys
from contextlib import redirect_stdout
from importlib import import_module
from importlib.metadata import distributions

import torch

from .ops import dispatch, library
from .utils.installation import PROVIDERS
from .version import __version__

EXTRAS = dict(mmcv='all', mmdet='det', mmseg='seg', mmpretrain='cls', mmpose='pose')


def describe_host(package: str) -> str:
    """Returns whether a package of OpenMMLab is installed, its distribution, and whether it can be imported."""
    found = [entry for name in PROVIDERS[package] for entry in distributions(name=name)]
    if not found:
        more = ' and see docs/pose.md' if package == 'mmpose' else ''  # pip alone cannot install it
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
    """Returns the findings, one line each."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'
    lines = [
        f'mmvit_backbones {__version__}, torch {torch.__version__}, Python {platform.python_version()}, GPU: {gpu}',
        *map(describe_host, EXTRAS),
        'varied-size windows, plain PyTorch: runs everywhere',
    ]
    cuda = 'runs' if torch.cuda.is_available() else 'built, but there is no GPU'
    for backend, title, state in (('cpp', 'C++ (CPU)', 'runs'), ('cuda', 'CUDA', cuda)):
        if reason := library.MISSING[backend]:
            state = f'missing, {reason}; {library.HOW_TO_BUILD}'
        lines.append(f'varied-size windows, {title}: {state}')
    on_cpu = 'cpp' if library.MISSING['cpp'] is None else 'reference'
    triton = 'reference' if dispatch.triton is None else 'triton'
    exact = 'cuda' if library.MISSING['cuda'] is None else triton
    half = exact if dispatch.triton is None else triton
    return [*lines, f'CPU tensors take the backend {on_cpu!r}',
            f'CUDA tensors take the backend {half!r} in half precision, {exact!r} in float32',
            *(f'{name}: {describe_triton(name)}' for name in dispatch.OPERATORS)]


def describe_triton(name: str) -> str:
    """Returns the implementation that runs an operator with Triton kernels."""
    if dispatch.triton is None:
        return 'plain PyTorch on GPUs, since Triton is not installed'
    if not torch.cuda.is_available():
        return f'Triton {dispatch.triton.__version__} on GPUs, if it agrees with plain PyTorch there; there is no GPU'
    return describe_check(name, torch.device('cuda', torch.cuda.current_device()))


def describe_check(name: str, device: torch.device) -> str:
    """Returns the result of an operator's self-check on a GPU, by dtype."""
    found = []
    for dtype in dispatch.TOLERANCES:
        reason = dispatch.why_not_trusted(name, 'triton', device, dtype)
        found.append(f'{str(dtype)[6:]} ' + ('Triton' if reason is None else f'plain PyTorch, since {reason}'))
    return f'on the GPU {", ".join(found)}'


if __name__ == '__main__':
    print('\n'.join(describe()))
