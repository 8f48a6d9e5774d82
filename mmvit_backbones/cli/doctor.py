"""Reports which frameworks and operator backends work, and what is missing."""
import argparse
import platform
import sys
from contextlib import redirect_stdout
from importlib import import_module
from importlib.metadata import distributions

import torch

from ..errors import first_line
from ..ops import library
from ..ops.dispatch import OPERATORS
from ..ops.self_check import table
from ..ops.triton.availability import why_not_triton
from ..utils.installation import PROVIDERS, find_conflicts, install_command
from ..version import __version__

PACKAGES = 'mmcv', 'mmdet', 'mmseg', 'mmpretrain'


def main(args: argparse.Namespace) -> None:
    """Prints the report; exits with status 1 if an installed package does not work."""
    device = torch.device('cuda', torch.cuda.current_device()) if torch.cuda.is_available() else None
    problems = describe_problems()
    print('\n'.join([describe_machine(), *map(describe_package, PACKAGES), *describe_kernels(device), *problems]))
    if problems:
        sys.exit(1)


def describe_machine() -> str:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'
    return f'mmvit_backbones {__version__}, torch {torch.__version__}, Python {platform.python_version()}, GPU: {gpu}'


def describe_package(package: str) -> str:
    """Returns a line with the version of an OpenMMLab package, or the command that installs the package."""
    found = [entry for name in PROVIDERS[package] for entry in distributions(name=name)]
    if not found:
        return f'{package}: not installed; {install_command(package)}'
    return f'{package}: {found[0].metadata["Name"]} {found[0].version}'


def describe_problems() -> list[str]:
    """Returns a line per installed OpenMMLab package that cannot be imported, and per conflict of distributions."""
    found = find_conflicts()
    for package in PACKAGES:
        if any(any(distributions(name=name)) for name in PROVIDERS[package]):
            try:
                with redirect_stdout(sys.stderr):  # some packages print missing optional dependencies
                    import_module('mmcv.ops' if package == 'mmcv' else package)
            except Exception as error:  # a broken environment can raise any exception
                found.append(f'{package} cannot be imported: {first_line(error)}; '
                             'see docs/troubleshooting.md')
    return found


def describe_kernels(device: torch.device | None) -> list[str]:
    """Returns which kernels are installed, and on a GPU, which ones are used."""
    gpu = 'runs' if device else 'installed, but there is no GPU'
    kernels = [('C++ (CPU)', 'runs', library.MISSING['cpp']), ('CUDA', gpu, library.MISSING['cuda']),
               ('Triton', gpu, why_not_triton(torch.empty(0, device='meta')))]
    lines = [f'kernels in {name}: {state if reason is None else f"missing, {reason}"}'
             for name, state, reason in kernels]
    return lines + (table(OPERATORS.values(), device) if device else [])
