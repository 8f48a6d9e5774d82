"""Loads checkpoint files without executing code in them."""
import argparse
import os
import os.path as osp
import pickle
import pickletools
import re
import tarfile
import zipfile
from contextlib import suppress
from functools import partial

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from ..errors import CheckpointError, CheckpointNotFoundError, UsageError, first_line
from ..utils import versions
from ..utils.files import why_no_file
from .archive import history_method, read_archive

OLD_FORMAT_START = bytes.fromhex('80028a0a6cfc9c46f9206aa850192e')  # first bytes of files written before PyTorch 1.6
CONVERTED = 'model.safetensors'  # name of the weights in folders written by `mmvit weights convert`
MAX_HEADER = 2**23  # bytes, enough for tens of thousands of tensors
MAX_OPERATIONS = 1_000_000  # in a pickle, enough for tens of thousands of tensors
DOS_FOLDER = 0x10  # attribute of folders; PyTorch does not read members with it, so tensors would be uninitialized


def load_checkpoint_file(path: str | os.PathLike, map_location: str | torch.device | None = 'cpu',
                         mmap: bool = False) -> dict:
    """Loads a checkpoint file (torch or safetensors) as a dict.

    Args:
        path (str | os.PathLike): A file, or a folder that contains ``model.safetensors``.
        map_location (str | torch.device | None): Device of the tensors. With None, PyTorch 2.10 and newer restore the
            device from which a torch file was saved; other tensors are loaded on the CPU. Defaults to ``'cpu'``.
        mmap (bool): Whether to memory-map archives written by ``torch.save``, for callers that only inspect the tensors
            or copy them at once. The tensors become invalid when the file is overwritten, and checksums are not
            verified. Ignored before PyTorch 2.10. Defaults to False.

    Raises:
        UsageError: If ``map_location`` cannot be used.
        CheckpointNotFoundError: If the file does not exist.
        CheckpointError: If the file cannot be read, is truncated or corrupt, exceeds a limit, contains types that are
            not allowed, or does not contain a dict.
    """
    checkpoint = load_file(path, map_location, mmap)
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f'checkpoint {path} contains a {type(checkpoint).__name__}, not a dict of weights')
    for key in ('meta', 'message_hub'):
        if not isinstance(checkpoint.get(key, {}), dict):
            raise CheckpointError(f'checkpoint {path}: {key} must be a dict, got a {type(checkpoint[key]).__name__}')
    return checkpoint


def load_file(path: str | os.PathLike, map_location: str | torch.device | None = 'cpu', mmap: bool = False) -> object:
    """Returns the object in a torch or safetensors file, of any allowed type; see :func:`load_checkpoint_file`."""
    path = osp.expanduser(str(path))
    if osp.isfile(osp.join(path, CONVERTED)):  # a folder written by `mmvit weights convert` or Transformers
        path = osp.join(path, CONVERTED)
    if reason := why_no_file(path):
        kind = CheckpointError if osp.exists(path) else CheckpointNotFoundError
        raise kind(f'checkpoint {path} {reason}')
    _check_device(map_location)
    if path.endswith('.safetensors'):
        read = partial(_load_safetensors, device=str(map_location or 'cpu'))
    else:
        read = partial(_load_torch, map_location=map_location, mmap=mmap)
    try:
        return read(path)
    except torch.cuda.OutOfMemoryError:  # says nothing about the file
        raise
    except Exception as error:  # a damaged pickle can raise any exception
        raise CheckpointError(f'checkpoint {path} {_describe_error(path, error)}') from error


def _check_device(device: str | torch.device | None) -> None:
    """Raises UsageError if a device cannot be used; the readers' own errors would be taken for damage."""
    if not isinstance(device, (str, torch.device)):  # torch.load also takes None, functions and dicts
        return
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f'map_location {device} cannot be used: {first_line(error)}') from error


def _load_safetensors(path: str, device: str) -> dict[str, torch.Tensor]:
    from safetensors import torch as safetensors
    with open(path, 'rb') as file:
        length = int.from_bytes(file.read(8), 'little')
    if length > MAX_HEADER:
        raise ValueError(f'the header has {length} bytes; the maximum is {MAX_HEADER}')
    return safetensors.load_file(path, device=device)


def _load_torch(path: str, map_location: str | torch.device | None, mmap: bool) -> object:
    is_archive = zipfile.is_zipfile(path)
    if is_archive:
        _check_members(path)
    if versions.is_older('2.10'):
        if not is_archive:
            raise pickle.UnpicklingError
        _check_sums(path)
        return read_archive(path, map_location or 'cpu')
    if is_archive and not mmap:
        _check_sums(path)
    with torch.serialization.safe_globals(_training_state_types()):
        return torch.load(path, map_location=map_location, weights_only=True, mmap=mmap and is_archive)


def _check_sums(path: str) -> None:
    """Raises BadZipFile if a checksum in an archive is wrong; PyTorch itself does not verify checksums."""
    with zipfile.ZipFile(path) as archive:
        part = archive.testzip()
    if part:
        raise zipfile.BadZipFile(f'the checksum of {part} is wrong')


def _check_members(path: str) -> None:
    """Raises BadZipFile if an archive exceeds a limit or is not laid out like those of torch.save."""
    length = _directory_size(path)
    if length > MAX_HEADER:
        raise zipfile.BadZipFile(f'the archive directory has {length} bytes; the maximum is {MAX_HEADER}')
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    for info in members:
        if info.external_attr & DOS_FOLDER:
            raise zipfile.BadZipFile(f'{info.filename} is marked as a folder')
        if info.compress_type != zipfile.ZIP_STORED:
            raise zipfile.BadZipFile(f'{info.filename} is compressed')
    if sum(info.file_size for info in members) > os.path.getsize(path):
        raise zipfile.BadZipFile('the members of the archive are larger than the file')
    with zipfile.ZipFile(path) as archive:
        for info in members:
            if info.filename.endswith('/data.pkl'):
                _check_pickle(archive.read(info))


def _directory_size(path: str) -> int:
    """Returns the size of an archive's directory in bytes, as found by ZipFile, without reading the directory."""
    with open(path, 'rb') as file:
        return zipfile._EndRecData(file)[zipfile._ECD_SIZE]  # pyright: ignore[reportAttributeAccessIssue]  # private


def _check_pickle(content: bytes) -> None:
    """Raises BadZipFile for a pickle with too many operations, each of which takes time and memory."""
    with suppress(ValueError):  # a damaged pickle, which its reader will report
        for number, _ in enumerate(pickletools.genops(content)):
            if number == MAX_OPERATIONS:
                raise zipfile.BadZipFile(f'the pickle has more than {MAX_OPERATIONS} operations')


def _describe_error(path: str, error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f'cannot be read: {error.strerror}'
    try:
        with open(path, 'rb') as file:
            start = file.read(256)
    except OSError as failed:  # hidden by is_zipfile
        return f'cannot be read: {failed.strerror}'
    if start.lstrip().startswith(b'<'):
        return 'is a web page, not a checkpoint: the download failed'
    if versions.is_older('2.10') and _has_old_format(path):
        return (f'is refused: it has the format of PyTorch before 1.6, which PyTorch {torch.__version__} cannot read '
                'safely; use PyTorch 2.10 or newer, or convert the weights to safetensors')
    if not isinstance(error, pickle.UnpicklingError):
        return f'is truncated or corrupt: {first_line(error)}'
    if refused := re.search(r'GLOBAL (\S+)', str(error)):
        return f'is refused: it contains more than weights (loading would import {refused[1]})'
    return 'is truncated or corrupt, or was not written by torch.save'  # PyTorch suggests weights_only=False


def _has_old_format(path: str) -> bool:
    """Returns whether a file has a format from before PyTorch 1.6: a pickle with a magic number, or a tar archive."""
    with open(path, 'rb') as file:
        return file.read(len(OLD_FORMAT_START)) == OLD_FORMAT_START or tarfile.is_tarfile(path)


def _training_state_types() -> list:
    """Returns the types other than tensors in checkpoints of MMEngine (log history) and timm (options)."""
    rebuild_array = np.empty(0).__reduce__()[0]
    rebuild_scalar = np.float64().__reduce__()[0]  # files written with NumPy 1 use a different name
    dtypes = {type(np.dtype(name)) for name in ('bool', 'uint8', 'int32', 'int64', 'float32', 'float64')}
    return [
        argparse.Namespace, np.ndarray, np.dtype, HistoryBuffer, *dtypes, (history_method, 'builtins.getattr'),
        *((rebuild_array, f'numpy.{core}.multiarray._reconstruct') for core in ('core', '_core')),
        *((rebuild_scalar, f'numpy.{core}.multiarray.scalar') for core in ('core', '_core'))
    ]
