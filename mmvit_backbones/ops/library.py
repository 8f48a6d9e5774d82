"""Loads the C++ and CUDA operators if they are built for the installed version of torch."""
import ctypes
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ..utils import versions
from .backend import Backend
from .paths import FOLDER, STEMS, library_name, user_folder

HOW_TO_BUILD = 'build it with `python -m mmvit_backbones.ops.build`'


def load(backend: Literal['cpp', 'cuda']) -> str | None:
    """Loads a backend's library; returns the reason if it can't be loaded, or None."""
    if backend == 'cuda' and torch.version.cuda is None:
        return 'this torch is built without CUDA'
    if backend == 'cuda' and MISSING['cpp']:  # the C++ library defines the schemas of the CUDA library
        return MISSING['cpp']
    if reason := versions.why_not('compiling the operators'):
        return reason
    folders = user_folder(), FOLDER  # the user's first, who compiles where this package's library does not suit
    name = library_name(backend, torch.__version__)
    others = sorted({file.name for folder in folders for file in folder.glob(f'{STEMS[backend]}.torch*.so')} - {name})
    found = f' (found {", ".join(others)})' if others else ''
    reason = f'not built for this package and torch {torch.__version__}{found}; {HOW_TO_BUILD}'
    for path in filter(Path.exists, (folder / name for folder in folders)):
        try:
            torch.ops.load_library(path)
            LOADED[backend] = path
            return None
        except OSError as error:
            reason = f'{path} cannot be loaded: {error}; {HOW_TO_BUILD}'
    return reason


LOADED: dict[str, Path] = {}  # file by backend
# The reason why a backend is missing, or None if it is loaded.
MISSING: dict[str, str | None] = {'cpp': load('cpp')}
MISSING['cuda'] = load('cuda')


class Library(Backend):
    """Kernels of a compiled library."""

    def __init__(self, name: Literal['cpp', 'cuda'], device: str) -> None:
        self.name, self.device = name, device

    def why_not(self, x: Tensor) -> str | None:
        # On meta tensors, CUDA's operators need only what the C++ library defines.
        if reason := MISSING['cpp' if x.is_meta else self.name]:
            return reason
        if x.device.type not in (self.device, 'meta'):
            return f'tensors must be on {self.device}, got {x.device}'
        return error_on_gpu(x.device.index) if x.is_cuda else None


@versions.constant_in_graphs
def error_on_gpu(index: int) -> str | None:
    """Returns the error of the loaded CUDA library's kernels on a GPU, or None if they run.

    Without GPUs, tensors on one are fake, and run everything.
    """
    return _error_on_gpu(index) if torch.cuda.is_available() else None


@cache
def _error_on_gpu(index: int) -> str | None:
    compiled = ctypes.CDLL(str(LOADED['cuda']))
    for function in compiled.mmvit_why_not_on_this_gpu, compiled.mmvit_architectures:
        function.restype = ctypes.c_char_p
    with torch.cuda.device(index):
        error = compiled.mmvit_why_not_on_this_gpu()
    if error is None:
        return None
    capability = '.'.join(map(str, torch.cuda.get_device_capability(index)))
    return (f'compiled for the capabilities {compiled.mmvit_architectures().decode()}, but {capability} is needed by '
            f'{torch.cuda.get_device_name(index)} ({error.decode()}); {HOW_TO_BUILD}')
