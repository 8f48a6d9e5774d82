"""Reports which frameworks and operator backends work, and what is missing.

    mmvit doctor
"""
import argparse
import platform
import sys
from contextlib import redirect_stdout
from importlib import import_module
from importlib.metadata import distributions
from typing import Literal

import torch

from ..errors import first_line
from ..ops import dispatch, library
from ..ops.triton import availability
from ..utils.installation import PROVIDERS, find_conflicts, install_command
from ..version import __version__

PACKAGES = 'mmcv', 'mmdet', 'mmseg', 'mmpretrain'


def get_parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)


def main(args: argparse.Namespace) -> None:
    """Prints the report; exits with status 1 if an installed package does not work."""
    problems = describe_problems()
    print('\n'.join([describe_machine(), *map(describe_package, PACKAGES), *describe_operators(), *problems]))
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


def describe_operators() -> list[str]:
    """Returns which backends of the operators can be used."""
    device = torch.device('cuda', torch.cuda.current_device()) if torch.cuda.is_available() else None
    return [*describe_windows(),
            *(f'{name}: {line}' for name in dispatch.OPERATORS for line in describe_kernels(name, device))]


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
