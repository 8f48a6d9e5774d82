"""Loads the compiled operators, if they are built for the torch that runs."""
from pathlib import Path
from typing import Literal

import torch

FOLDER = Path(__file__).parent
STEMS = {'cpp': 'libmmvit_ops', 'cuda': 'libmmvit_ops_cuda'}
HOW_TO_BUILD = 'build them with `python -m mmvit_backbones.ops.build`'


def library_name(backend: Literal['cpp', 'cuda'], torch_version: str) -> str:
    """Returns the file of a compiled backend; torch's C++ interface changes with its version, so it is in the name."""
    return f'{STEMS[backend]}.torch{torch_version}.so'


def load(backend: Literal['cpp', 'cuda']) -> str | None:
    """Loads the library of a backend; returns why it can't be, or None."""
    if backend == 'cuda' and torch.version.cuda is None:
        return 'this torch is built without CUDA'
    path = FOLDER / library_name(backend, torch.__version__)
    if not path.exists():
        others = sorted(file.name for file in FOLDER.glob(f'{STEMS[backend]}.torch*.so'))
        return f'not built for torch {torch.__version__}' + (f' (there is {", ".join(others)})' if others else '')
    try:
        torch.ops.load_library(path)
    except OSError as error:
        return f'{path.name} cannot be loaded: {error}'
    return None


# Why each compiled backend is missing, or None.
MISSING = {'cpp': load('cpp')}
MISSING['cuda'] = MISSING['cpp'] or load('cuda')  # which needs the schemas of the C++ library
