"""Reports which frameworks and operator backends work, and what is missing.

    mmvit doctor

The exit code is 1 if something that is installed does not work.
"""
import argparse
import platform
import re
import sys
from contextlib import redirect_stdout
from importlib import import_module
from importlib.metadata import distributions, version
from typing import Literal

import torch

from ..ops import dispatch, library
from ..ops.triton import availability
from ..utils.installation import PROVIDERS, find_conflicts
from ..version import __version__

BROKEN = 'cannot be imported'
REINSTALL = 'pip uninstall {mmcv}, then MMCV_WITH_OPS=1 pip install --no-build-isolation --no-deps --no-cache-dir '
# Pattern of an error message that incompatible versions cause -> fix. {mmcv} are the installed distributions of mmcv,
# and {same} is the requirement of the same version with compiled operators.
FIXES = {
    r'MMCV==\S+ is used but incompatible.*<2\.2':
        REINSTALL + "'mmcv>=2.1,<2.2'; the original mmdet and mmsegmentation support no later version",
    r"No module named 'pkg_resources'": "pip install 'setuptools<81'",
    r"No module named 'mmcv\._ext'": REINSTALL + '{same}',
    r'Numpy is not available|compiled using NumPy 1\.x|numpy\.core\.multiarray failed to import':
        "pip install 'numpy<2'",
    r'mmcv/_ext\S+: undefined symbol': 'rebuild mmcv for this torch: ' + REINSTALL + '{same}',
}
# What to install for a package: with the forks onedl-*, or if nothing is installed, and with the original packages.
FORKS = {package: f'mmvit_backbones[{extra}]'
         for package, extra in dict(mmcv='all', mmdet='det', mmseg='seg', mmpretrain='cls').items()}
UPSTREAM = dict(mmcv='mmcv>=2.1,<2.2', mmdet='mmdet>=3.3', mmseg='mmsegmentation>=1.2.2', mmpretrain='mmpretrain>=1.2')


def get_parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)


def main(args: argparse.Namespace) -> None:
    device = torch.device('cuda', torch.cuda.current_device()) if torch.cuda.is_available() else None
    gpu = 'none' if device is None else torch.cuda.get_device_name(device)
    print(f'mmvit_backbones {__version__}, torch {torch.__version__}, Python {platform.python_version()}, GPU: {gpu}')
    problems = describe_environment()
    packages = [describe_package(package) for package in FORKS]
    kernels = (f'{name}: {line}' for name in dispatch.OPERATORS for line in describe_kernels(name, device))
    print(*problems, *packages, *describe_windows(), *kernels, sep='\n')
    if problems or any(BROKEN in line for line in packages):
        sys.exit(1)


def has_upstream() -> bool:
    """Returns whether an original package of OpenMMLab is installed, and not a fork."""
    names = [name for names in PROVIDERS.values() for name in names if any(distributions(name=name))]
    return bool(names) and not any(name.startswith('onedl-') for name in names)


def describe_package(package: str) -> str:
    """Returns a line with the version of an OpenMMLab package and whether the package can be imported."""
    found = [entry for name in PROVIDERS[package] for entry in distributions(name=name)]
    if not found:
        return f"{package}: not installed; pip install '{(UPSTREAM if has_upstream() else FORKS)[package]}'"
    title = f'{package} {found[0].version} ({found[0].metadata["Name"]})'
    try:
        with redirect_stdout(sys.stderr):  # some packages print missing optional dependencies
            import_module('mmcv.ops' if package == 'mmcv' else package)
    except Exception as error:  # a broken environment can raise any exception
        reason = str(error).strip().split('\n')[0]
        return f'{title}: {BROKEN}, {type(error).__name__}: {reason}; {fix_for(str(error))}'
    return f'{title}: runs'


def fix_for(message: str) -> str:
    """Returns the fix for an error message, from :data:`FIXES` or the documentation."""
    fix = next((fix for pattern, fix in FIXES.items() if re.search(pattern, message)), None)
    installed = {name: entry.version for name in PROVIDERS['mmcv'] for entry in distributions(name=name)}
    if fix is None or ('{mmcv}' in fix and not installed):
        return 'see docs/troubleshooting.md'
    same = [f'{name.removesuffix("-lite")}=={version}' for name, version in installed.items()]
    return 'fix: ' + fix.format(mmcv=' '.join(installed), same=' or '.join(same))


def describe_environment() -> list[str]:
    """Returns the environment's problems: an incompatible NumPy, or distributions that overwrite each other's files."""
    found = []
    try:
        torch.zeros(1).numpy()
    except RuntimeError as error:  # torch before 2.3 was compiled for NumPy 1
        found.append(f'torch {torch.__version__} and NumPy {version("numpy")}: {error}; {fix_for(str(error))}')
    return found + find_conflicts()


def describe_windows() -> list[str]:
    """Returns which backends of the varied-size windows are installed, and which ones are preferred."""
    lines = ['varied-size windows, plain PyTorch: runs everywhere']
    cuda = 'built' if torch.cuda.is_available() else 'built, but there is no GPU'
    for backend, title, state in (('cpp', 'C++ (CPU)', 'runs'), ('cuda', 'CUDA', cuda)):
        reason = library.MISSING[backend]
        lines.append(f'varied-size windows, {title}: {state if reason is None else f"missing, {reason}"}')
    # As in dispatch.order.
    cpu = ['cpp'] if library.MISSING['cpp'] is None else []
    full = ['cuda'] if library.MISSING['cuda'] is None else []
    full += ['triton'] if why_no_triton() is None else []
    for where, backends in (('CPUs', cpu), ('GPUs in half precision', full[::-1]),
                            ('GPUs in float32 and float64', full)):
        lines.append(f'varied-size windows on {where} use the first possible backend of: '
                     f'{", ".join([*backends, "reference"])}')
    return lines


def why_no_triton() -> str | None:
    """Returns the reason why Triton can't run on any GPU, or None."""
    return availability.why_not_triton(torch.empty(0, device='meta'))


def describe_kernels(name: str, device: torch.device | None) -> list[str]:
    """Returns which kernels of an operator can be used on a GPU, or on GPUs in general without a device, as text."""
    kernels = dispatch.OPERATORS[name].functions
    lines = []
    if device and 'cuda' in kernels and library.MISSING['cuda'] is None:
        lines.append(describe_check(name, 'cuda', device))
    if reason := why_no_triton():
        lines.append(f'no Triton kernels on GPUs, because {reason}')
    elif device:
        lines.append(describe_check(name, 'triton', device))
    else:
        version = availability.triton.__version__
        lines.append(f'Triton {version} can be used on GPUs; its results are not checked without a GPU')
    return lines


def describe_check(name: str, backend: Literal['cuda', 'triton'], device: torch.device) -> str:
    """Returns the result of an operator's self-check on a GPU for each dtype, as text."""
    found = []
    for dtype in dispatch.TOLERANCES:
        reason = dispatch.why_not_trusted(name, backend, device, dtype)
        name_of_dtype = str(dtype)[6:]
        found.append(f'can be used in {name_of_dtype}' if reason is None else
                     f'is not used in {name_of_dtype}, because {reason}')
    return f'on this GPU, {dict(cuda="CUDA", triton="Triton")[backend]} {"; ".join(found)}'
