"""Reports which frameworks and operator backends work, and what is missing.

    mmvit doctor
"""
import argparse
import platform
import re
import sys
from contextlib import redirect_stdout
from importlib import import_module
from importlib.metadata import distributions, version

import torch

from ..ops import dispatch, library
from ..ops.triton import availability
from ..utils.installation import PROVIDERS, check_distributions
from ..version import __version__

# Pattern of an error message that incompatible versions cause -> fix.
FIXES = {
    r'MMCV==\S+ is used but incompatible':
        "pip uninstall mmcv, then pip install --no-build-isolation 'mmcv>=2.1,<2.2'; mmdet supports no later version",
    r"No module named 'pkg_resources'": "pip install 'setuptools<81'",
    r"No module named 'mmcv\._ext'":
        'pip uninstall mmcv-lite, then pip install --no-build-isolation --no-cache-dir mmcv with MMCV_WITH_OPS=1',
    r'Numpy is not available|compiled using NumPy 1\.x|numpy\.core\.multiarray failed to import':
        "pip install 'numpy<2'",
    r'undefined symbol': 'rebuild mmcv for this torch: pip install --no-build-isolation --no-cache-dir mmcv',
}
EXTRAS = dict(mmcv='all', mmdet='det', mmseg='seg', mmpretrain='cls', mmpose='pose')


def get_parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)


def main(args: argparse.Namespace) -> None:
    print('\n'.join(describe()))


def describe_package(package: str) -> str:
    """Returns a line with the version of an OpenMMLab package and whether the package can be imported."""
    found = [entry for name in PROVIDERS[package] for entry in distributions(name=name)]
    if not found:
        more = ' and see docs/pose.md' if package == 'mmpose' else ''  # pip alone cannot install mmpose
        return f"{package}: not installed; pip install 'mmvit_backbones[{EXTRAS[package]}]'{more}"
    title = f'{package} {found[0].version} ({found[0].metadata["Name"]})'
    try:
        with redirect_stdout(sys.stderr):  # some packages print missing optional dependencies
            import_module('mmcv.ops' if package == 'mmcv' else package)
    except Exception as error:  # a broken environment can raise any exception
        reason = str(error).strip().split('\n')[0]
        return f'{title}: cannot be imported, {type(error).__name__}: {reason}; {fix_for(str(error))}'
    return f'{title}: runs'


def fix_for(message: str) -> str:
    """Returns the fix for an error message, from :data:`FIXES` or the documentation."""
    return next((f'fix: {command}' for pattern, command in FIXES.items() if re.search(pattern, message)),
                'see docs/troubleshooting.md')


def describe_environment() -> list[str]:
    """Returns the environment's problems: an incompatible NumPy, or distributions that overwrite each other's files."""
    found = []
    try:
        torch.zeros(1).numpy()
    except RuntimeError as error:  # torch before 2.3 was compiled for NumPy 1
        found.append(f'torch {torch.__version__} and NumPy {version("numpy")}: {error}; {fix_for(str(error))}')
    try:
        check_distributions()
    except ImportError as error:
        found.append(str(error))
    return found


def describe() -> list[str]:
    """Returns the lines of the report."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'
    lines = [
        f'mmvit_backbones {__version__}, torch {torch.__version__}, Python {platform.python_version()}, GPU: {gpu}',
        *describe_environment(),
        *map(describe_package, EXTRAS),
        'varied-size windows, plain PyTorch: runs everywhere',
    ]
    cuda = 'runs' if torch.cuda.is_available() else 'built, but there is no GPU'
    for backend, title, state in (('cpp', 'C++ (CPU)', 'runs'), ('cuda', 'CUDA', cuda)):
        if reason := library.MISSING[backend]:
            state = f'missing, {reason}; {library.HOW_TO_BUILD}'
        lines.append(f'varied-size windows, {title}: {state}')
    on_cpu = 'cpp' if library.MISSING['cpp'] is None else 'reference'
    triton = 'reference' if availability.triton is None else 'triton'
    exact = 'cuda' if library.MISSING['cuda'] is None else triton
    half = exact if availability.triton is None else triton
    return [*lines, f'CPU tensors use the backend {on_cpu!r}',
            f'CUDA tensors use the backend {half!r} in half precision, {exact!r} in float32',
            *(f'{name}: {describe_triton(name)}' for name in dispatch.OPERATORS)]


def describe_triton(name: str) -> str:
    """Returns which implementation of an operator runs on GPUs, as text."""
    if availability.triton is None:
        return 'plain PyTorch on GPUs, because Triton is not installed'
    if not torch.cuda.is_available():
        version = availability.triton.__version__
        return f'Triton {version} on GPUs if its results match plain PyTorch; not checked without a GPU'
    return describe_check(name, torch.device('cuda', torch.cuda.current_device()))


def describe_check(name: str, device: torch.device) -> str:
    """Returns the result of an operator's self-check on a GPU for each dtype, as text."""
    found = []
    for dtype in dispatch.TOLERANCES:
        reason = dispatch.why_not_trusted(name, 'triton', device, dtype)
        name_of_dtype = str(dtype)[6:]
        found.append(f'used in {name_of_dtype}' if reason is None else
                     f'replaced by plain PyTorch in {name_of_dtype}, because {reason}')
    return f'on the GPU, Triton is {"; ".join(found)}'

