"""Names the files of the compiled operators; imports nothing of this package, because setup.py runs it directly."""
import hashlib
import os
import platform
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SOURCES = FOLDER / 'csrc'
STEMS = {'cpp': 'libmmvit_ops', 'cuda': 'libmmvit_ops_cuda'}


def library_name(backend: str, torch_version: str) -> str:
    """Returns the file name of a library.

    It has torch's version, because the C++ ABI differs between versions, and a hash of the sources and the processor,
    so that a library of other sources is never loaded, wherever it was left.
    """
    digest = hashlib.sha256(platform.machine().encode())
    for file in [*sorted(SOURCES.glob('[a-z]*.[ch]*')), FOLDER / 'build.py']:
        digest.update(file.read_bytes())
    return f'{STEMS[backend]}.torch{torch_version}.{digest.hexdigest()[:8]}.so'


def user_folder() -> Path:
    """Returns the folder for libraries of a package that is installed where the user must not write."""
    import torch  # imported here because pip's isolated build has no torch
    return Path(torch.hub.get_dir(), 'mmvit_operators')


def writable_folder() -> Path:
    """Returns the folder of this package, or if it is read-only, the user's."""
    return FOLDER if os.access(FOLDER, os.W_OK) else user_folder()
