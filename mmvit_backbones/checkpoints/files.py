"""Read checkpoint files without running code that may hide in them."""
import argparse
import os
import os.path as osp
import pickle
import re
import zipfile
from collections.abc import Callable

import numpy as np
import torch

DOS_FOLDER = 0x10  # torch reads nothing from what is marked so, and leaves the memory of the tensor as it was


class CheckpointError(ValueError):
    """A checkpoint that can't be used; the message is one line that names it and says why."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """A checkpoint that is not there."""


def load_checkpoint_file(path: str | os.PathLike, map_location: str | torch.device | None = 'cpu',
                         mmap: bool = False) -> dict:
    """Load a checkpoint file (torch or safetensors) as a dict.

    Args:
        path (str | os.PathLike): A file.
        map_location (str | torch.device): Where the tensors go.
        mmap (bool): Leave the tensors on disk until they are used. For looking at a file or copying from it
            at once: the tensors break when the file is overwritten, and their checksums are not looked at.

    Raises:
        CheckpointNotFoundError: There is no such file.
        CheckpointError: The file is truncated, corrupt, or holds anything else than weights.
    """
    path = osp.expanduser(str(path))
    if not osp.exists(path):
        raise CheckpointNotFoundError(f'checkpoint {path} does not exist')
    if not osp.isfile(path):
        raise CheckpointError(f'checkpoint {path} is a folder, not a file')
    is_safetensors = path.endswith('.safetensors')
    checkpoint = _load_safetensors(path, map_location) if is_safetensors else _load_torch(path, map_location, mmap)
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f'checkpoint {path} holds a {type(checkpoint).__name__}, not a dict of weights')
    return checkpoint


def _load_safetensors(path: str, map_location: str | torch.device | None) -> dict:
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    try:
        return load_file(path, device=str(map_location))
    except SafetensorError as error:
        raise CheckpointError(f'checkpoint {path} is truncated or corrupt: {error}') from error


def _load_torch(path: str, map_location: str | torch.device | None, mmap: bool) -> dict:
    try:
        if not mmap and zipfile.is_zipfile(path):
            check_sums(path)
        with torch.serialization.safe_globals(_training_state_types()):
            return torch.load(
                path, map_location=map_location, weights_only=True, mmap=mmap and zipfile.is_zipfile(path))
    # A damaged pickle can make the reader fail in any way.
    except Exception as error:
        raise CheckpointError(f'checkpoint {path} {_what_is_wrong(path, error)}') from error


def check_sums(path: str | os.PathLike) -> None:
    """Compare the checksums of a torch file, which torch itself does not.

    Raises:
        zipfile.BadZipFile: A part is not what was written.
    """
    with zipfile.ZipFile(path) as archive:
        part = archive.testzip()
        folders = [info.filename for info in archive.infolist() if info.external_attr & DOS_FOLDER]
    if part:
        raise zipfile.BadZipFile(f'the checksum of {part} is wrong')
    if folders:
        raise zipfile.BadZipFile(f'{folders[0]} is marked as a folder')


def _what_is_wrong(path: str, error: Exception) -> str:
    with open(path, 'rb') as file:
        if file.read(256).lstrip().startswith(b'<'):
            return 'is a web page, not a checkpoint: the download went wrong'
    refused = re.search(r'GLOBAL (\S+)', str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if refused:
        return f'is refused: it holds more than weights (it would import {refused[1]})'
    if isinstance(error, pickle.UnpicklingError):  # whose text advises to allow code
        return 'is truncated or corrupt, or torch.save did not write it'
    first_line = str(error).strip().split('\n')[0] or type(error).__name__
    return f'is truncated or corrupt: {first_line}'


def _training_state_types() -> list:
    """Name what a training state of mmengine (its log history, above all) or timm (its options) holds besides tensors.

    Files written with numpy 1 call numpy's functions by other names.
    """
    from mmengine.logging import HistoryBuffer
    rebuild_array = np.empty(0).__reduce__()[0]
    rebuild_scalar = np.float64(0).__reduce__()[0]
    dtypes = {type(np.dtype(name)) for name in ('bool', 'uint8', 'int32', 'int64', 'float32', 'float64')}
    return [
        argparse.Namespace, np.ndarray, np.dtype, HistoryBuffer, *dtypes, (_history_method, 'builtins.getattr'),
        *((rebuild_array, f'numpy.{core}.multiarray._reconstruct') for core in ('core', '_core')),
        *((rebuild_scalar, f'numpy.{core}.multiarray.scalar') for core in ('core', '_core'))
    ]


def _history_method(owner: type, name: str) -> Callable:
    """Stand in for getattr, by which a HistoryBuffer refers to its own methods, and allow nothing else."""
    from mmengine.logging import HistoryBuffer
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise pickle.UnpicklingError('GLOBAL getattr')
    return getattr(HistoryBuffer, name)
