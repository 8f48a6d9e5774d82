"""Finds out which frameworks and kernels of operators work on this machine."""
import platform
import statistics
import sys
from importlib import import_module
from importlib.metadata import distributions
from itertools import product

import torch
from torch import Tensor, nn

from mmvit_backbones import get_model
from mmvit_backbones.errors import first_line
from mmvit_backbones.ops import library, plain_pytorch, use_kernels
from mmvit_backbones.ops.dispatch import BACKENDS, backends_in_use, forget_backends
from mmvit_backbones.ops.triton import MEASURED_CAPABILITY
from mmvit_backbones.utils import versions
from mmvit_backbones.utils.installation import PROVIDERS, describe_operators, find_conflicts, install_command
from mmvit_backbones.version import __version__

from ..frameworks.building import import_quietly

NETWORKS = 'reswin_tiny', 'vitaev2_vsa_small'  # which run all operators
# Of the mean deviation of maps and gradients, which is 1e-6 in float32 and 3e-2 in bfloat16 by rounding alone.
LIMITS = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.1}


def diagnose() -> tuple[list[str], list[str]]:
    """Checks the installed OpenMMLab packages, and compares kernels with plain PyTorch, on the GPU or else on the CPU.

    Returns:
        tuple[list[str], list[str]]: A report, whose last line is the verdict, and what does not work.
    """
    device = torch.device('cuda', torch.cuda.current_device()) if torch.cuda.is_available() else torch.device('cpu')
    right, wrong = check_kernels(device)
    packages, broken = zip(*map(check_package, PROVIDERS))
    state, works = describe_operators()
    operators = f'operators of mmcv: {state}'
    problems = [*find_conflicts(), *filter(None, broken), *([] if works else [operators]), *wrong]
    lines = [describe_machine(), *packages, *([operators] if works else []), *describe_kernels(), *right, *problems]
    verdict = f'{len(problems)} problem(s), see above' if problems else 'everything that is installed works'
    return [*lines, f'verdict: {verdict}'], problems


def describe_machine() -> str:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'
    return f'mmvit_backbones {__version__}, torch {torch.__version__}, Python {platform.python_version()}, GPU: {gpu}'


def check_package(package: str) -> tuple[str, str | None]:
    """Returns a line with the version of an OpenMMLab package, or its installation, and why it does not work."""
    found = [entry for folder in sys.path for name in PROVIDERS[package]  # first what is imported
             for entry in distributions(name=name, path=[folder])]
    if not found:
        return f'{package}: not installed; {install_command(package)}', None
    problem = None
    try:
        import_module(package)
        if package == 'mmengine':
            import_module('mmengine.utils').is_installed(package)  # upstream's imports a module of old setuptools
        elif package != 'mmcv':
            import_quietly(package)  # what a run imports, too
    except Exception as error:  # a broken environment can raise any exception
        lacks_module = getattr(error, 'name', None) == 'pkg_resources'
        remedy = "pip install 'setuptools<81'" if lacks_module else 'see docs/troubleshooting.md'
        problem = f'{package} does not work: {first_line(error)}; {remedy}'
    return f'{package}: {found[0].metadata["Name"]} {found[0].version}', problem


def describe_kernels() -> list[str]:
    """Returns a line per language of the kernels: whether they are installed and can run."""
    gpu = 'runs' if torch.cuda.is_available() else 'installed, but there is no GPU'
    kernels = [('C++ (CPU)', 'runs', library.MISSING['cpp']), ('CUDA', gpu, library.MISSING['cuda']),
               ('Triton', f'{gpu}; by default on capability {"{}.{}".format(*MEASURED_CAPABILITY)} alone',
                BACKENDS['triton'].why_not(torch.empty(0, device='meta')))]
    return [f'kernels in {name}: {state if reason is None else f"missing, {reason}"}'
            for name, state, reason in kernels]


def check_kernels(device: torch.device) -> tuple[list[str], list[str]]:
    """Returns lines about networks that are as in plain PyTorch with their kernels on a device, and about others.

    The kernels are those that run by default, and Triton's on a GPU.
    """
    right, wrong, x = [], [], torch.empty(0, device=device)
    requests = (None, 'triton') if x.is_cuda and BACKENDS['triton'].why_not(x) is None else (None, )
    for name, dtype in product(NETWORKS, LIMITS):
        if device.type == 'cpu' and dtype == torch.float16:  # which older processors do not have
            continue
        torch.manual_seed(0)
        network, title = get_model(name, 'backbone').eval().to(device), f'{name} in {str(dtype)[6:]}'
        try:
            with plain_pytorch():
                expected = compute(network, dtype, device)
            for kernels in requests:
                forget_backends()
                with use_kernels(kernels):
                    found = compute(network, dtype, device)
                in_use = backends_in_use(device)
                used = ', '.join(f'{operator} by {backend}' for operator, backend in in_use.items())
                if {*in_use.values()} != {'reference'} and (kernels or '') in used:  # the request may not be possible
                    deviation = statistics.fmean(
                        ((x - exact).norm() / exact.norm()).item() for x, exact in zip(found, expected))
                    (right if deviation <= LIMITS[dtype] else wrong).append(
                        f'{title} deviates by {deviation:.0e} from plain PyTorch: {used}')
        except Exception as error:  # compilers and drivers raise many types of errors
            wrong.append(f'{title} fails: {first_line(error)}')
    return right, wrong


def compute(network: nn.Module, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """Returns the maps of a network with autocast, and the gradients of all parameters for random ones of the maps."""
    random = torch.Generator().manual_seed(0)
    images = torch.randn(1, 3, 104, 120, generator=random).to(device)  # not of whole windows
    with versions.autocast(device.type, dtype):
        maps = network(images)
    gradients = [torch.randn(x.shape, generator=random).to(x) for x in maps]
    return [*maps, *torch.autograd.grad(maps, list(network.parameters()), gradients)]
