"""Finds out which frameworks and kernels of operators work on this machine."""
import platform
from importlib import import_module
from importlib.metadata import distributions

import torch

from mmvit_backbones.errors import first_line
from mmvit_backbones.ops import library
from mmvit_backbones.ops.dispatch import BACKENDS, OPERATORS
from mmvit_backbones.ops.triton import MEASURED_CAPABILITY
from mmvit_backbones.utils.installation import PROVIDERS, find_conflicts, install_command
from mmvit_backbones.version import __version__

from ..utils.frameworks import import_quietly
from .self_check import check_backends

PACKAGES = 'mmcv', 'mmdet', 'mmseg', 'mmpretrain'


def diagnose() -> tuple[list[str], list[str]]:
    """Checks the installed OpenMMLab packages, and compares kernels with plain PyTorch, on the GPU or else on the CPU.

    Returns:
        tuple[list[str], list[str]]: A report, whose last line is the verdict, and what does not work.
    """
    device = torch.device('cuda', torch.cuda.current_device()) if torch.cuda.is_available() else torch.device('cpu')
    checks = check_backends(OPERATORS.values(), device)
    problems = [*find_conflicts(), *broken_packages(), *(str(check) for check in checks if check.fault)]
    lines = [describe_machine(), *map(describe_package, PACKAGES), *describe_kernels(),
             *(f'{check} of float64 on {device}' for check in checks if not check.fault)]
    verdict = f'{len(problems)} problem(s), see above' if problems else 'everything that is installed works'
    return [*lines, *problems, f'verdict: {verdict}'], problems


def describe_machine() -> str:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'
    return f'mmvit_backbones {__version__}, torch {torch.__version__}, Python {platform.python_version()}, GPU: {gpu}'


def describe_package(package: str) -> str:
    """Returns a line with the version of an OpenMMLab package, or the command that installs the package."""
    found = [entry for name in PROVIDERS[package] for entry in distributions(name=name)]
    if not found:
        return f'{package}: not installed; {install_command(package)}'
    return f'{package}: {found[0].metadata["Name"]} {found[0].version}'


def broken_packages() -> list[str]:
    """Returns a line per installed OpenMMLab package that cannot be imported."""
    found = []
    for package in PACKAGES:
        if any(any(distributions(name=name)) for name in PROVIDERS[package]):
            try:
                if package == 'mmcv':
                    import_module('mmcv.ops')
                else:
                    import_quietly(package)  # what a run imports, too
            except Exception as error:  # a broken environment can raise any exception
                found.append(f'{package} cannot be imported: {first_line(error)}; see docs/troubleshooting.md')
    return found


def describe_kernels() -> list[str]:
    """Returns a line per language of the kernels: whether they are installed and can run."""
    gpu = 'runs' if torch.cuda.is_available() else 'installed, but there is no GPU'
    kernels = [('C++ (CPU)', 'runs', library.MISSING['cpp']), ('CUDA', gpu, library.MISSING['cuda']),
               ('Triton', f'{gpu}; by default on capability {"{}.{}".format(*MEASURED_CAPABILITY)} alone',
                BACKENDS['triton'].why_not(torch.empty(0, device='meta')))]
    return [f'kernels in {name}: {state if reason is None else f"missing, {reason}"}'
            for name, state, reason in kernels]
