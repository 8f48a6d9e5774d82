"""Loads the C++ and CUDA operators if they are built for the installed version of torch."""
import ctypes
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from ..utils import versions

FOLDER = Path(__file__).parent
STEMS = {'cpp': 'libmmvit_ops', 'cuda': 'libmmvit_ops_cuda'}
HOW_TO_BUILD = 'build it with `python -m mmvit_backbones.ops.build`'


def library_name(backend: Literal['cpp', 'cuda'], torch_version: str) -> str:
    """Returns a library's file name, which includes torch's version because its C++ ABI differs between versions."""
    return f'{STEMS[backend]}.torch{torch_version}.so'


def load(backend: Literal['cpp', 'cuda']) -> str | None:
    """Loads a backend's library; returns the reason if it can't be loaded, or None."""
    if backend == 'cuda' and torch.version.cuda is None:
        return 'this torch is built without CUDA'
    if backend == 'cuda' and MISSING['cpp']:  # the C++ library defines the schemas of the CUDA library
        return MISSING['cpp']
    if reason := versions.why_not('compiling the operators'):
        return reason
    path = FOLDER / library_name(backend, torch.__version__)
    if not path.exists():
        others = sorted(file.name for file in FOLDER.glob(f'{STEMS[backend]}.torch*.so'))
        found = f' (found {", ".join(others)})' if others else ''
        return f'not built for torch {torch.__version__}{found}; {HOW_TO_BUILD}'
    try:
        torch.ops.load_library(path)
    except OSError as error:
        return f'{path.name} cannot be loaded: {error}; {HOW_TO_BUILD}'
    return None


# The reason why a backend is missing, or None if it is loaded.
MISSING: dict[str, str | None] = {'cpp': load('cpp')}
MISSING['cuda'] = load('cuda')


@versions.constant_in_graphs
def why_not_on_gpu(index: int) -> str | None:
    """Returns the reason why the loaded CUDA library's kernels can't run on a GPU, or None if they can.

    Without GPUs, tensors on one are fake, and run everything.
    """
    return _why_not_on_gpu(index) if torch.cuda.is_available() else None


@cache
def _why_not_on_gpu(index: int) -> str | None:
    compiled = ctypes.CDLL(str(FOLDER / library_name('cuda', torch.__version__)))
    for function in compiled.mmvit_why_not_on_this_gpu, compiled.mmvit_architectures:
        function.restype = ctypes.c_char_p
    with torch.cuda.device(index):
        error = compiled.mmvit_why_not_on_this_gpu()
    if error is None:
        return None
    capability = '.'.join(map(str, torch.cuda.get_device_capability(index)))
    return (f'compiled for the capabilities {compiled.mmvit_architectures().decode()}, but {capability} is needed by '
            f'{torch.cuda.get_device_name(index)} ({error.decode()}); {HOW_TO_BUILD}')
