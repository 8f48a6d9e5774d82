"""Finds the checkpoint that a path means, and reads files without executing code in them."""
import argparse
import codecs
import errno
import importlib
import json
import logging
import os
import os.path as osp
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log

from ..errors import CheckpointError, CheckpointNotFoundError, UnreadCheckpointError, UsageError, first_line
from ..utils import versions
from ..utils.file_access import problem_of_file

LAST = 'last_checkpoint'  # MMEngine's text file with the path of the last checkpoint
DETAILS = 'mmvit_backbones'  # key of `meta` with what the names of converted weights do not tell, in JSON
OF_DATA = 'classes', 'palette', 'category_ids'  # those of its values that MMEngine has in `meta['dataset_meta']`
RUNS = 'runs'  # key in MMEngine's message hub: names of the runs of a training, and the steps at which they began
METRICS = 'accuracy/top1', 'coco/bbox_mAP', 'mIoU'  # of the tasks, for work dirs with several best checkpoints

# ---- what a path means


def find_checkpoint(path: str) -> str:
    """Returns the checkpoint of a work dir: the best one of its last training, or else that of ``last_checkpoint``.

    The best one is the newest ``best_*.pth`` beside the last one or in the work dir; of several metrics, that of top-1
    accuracy, box AP or mIoU. One of another training (:func:`is_of_run`) is not taken, with a warning. The file
    ``last_checkpoint`` itself also stands for the checkpoint that it names. Other files, and URLs, are returned as they
    are.

    Raises:
        CheckpointNotFoundError: If a work dir has no checkpoint, or ``last_checkpoint`` names a missing file.
    """
    folder = Path(path)
    if folder.name == LAST and folder.is_file():
        return last_of(folder)
    if not folder.is_dir():
        return path
    try:
        last, missing = last_of(folder / LAST) if (folder / LAST).is_file() else None, None
    except CheckpointNotFoundError as error:
        last, missing = None, error
    folders = {folder, Path(last).parent} if last else {folder}
    best = sorted((file for place in folders for file in place.glob('best_*.pth')), reverse=True,
                  key=lambda file: file.stat().st_mtime_ns)
    if best:
        best = _best_of_run(best, last or str(best[0]))
    if not best and not last:
        others = sorted(file.name for file in folder.glob('*.safetensors'))  # of Hugging Face
        hint = f'; name the file {folder / others[0]}' if others else ''
        raise missing or CheckpointNotFoundError(f'{path} has neither best_*.pth nor {LAST}, so it is not the work dir '
                                                 f'of a training that saved a checkpoint{hint}')
    return str(best[0]) if best else str(last)


def _best_of_run(best: list[Path], last: str) -> list[Path]:
    """Returns those of the best checkpoints that are of the run of the last one.

    First those that it records, and of these the one by the metric of a task.
    """
    try:
        newest = read_file(last, mmap=True)
    except CheckpointError:
        return best
    own = [file for file in best if is_of_run(file, newest) is not False]  # a damaged one is reported on load
    if not own:
        print_log(f'{best[0]} is of another training than {last}, and is not used', 'current', logging.WARNING)
    recorded = recorded_best(info_of(newest))
    names = [osp.basename(recorded[key])
             for key in sorted(recorded, key=lambda key: key.removeprefix('best_ckpt_') not in METRICS)]
    return sorted(own, key=lambda file: names.index(file.name) if file.name in names else len(names))


def is_of_run(file: str | Path, checkpoint: dict) -> bool | None:
    """Returns whether a file is of the training of a checkpoint, which may have been interrupted, resumed or moved.

    A training has the name of its first run. Returns None for a file that cannot be read.
    """
    try:
        (name, _), *_ = runs_of(read_file(file, mmap=True))
    except CheckpointError:
        return None
    return name == runs_of(checkpoint)[0][0]


def info_of(checkpoint: dict) -> dict:
    """Returns what MMEngine's message hub knew of the run when a checkpoint was saved."""
    info = (checkpoint.get('message_hub') or {}).get('runtime_info')
    return info if isinstance(info, dict) else {}


def recorded_best(info: dict) -> dict[str, str]:
    """Returns the paths of the best checkpoints so far in what MMEngine's message hub knows, by their key there."""
    return {key: str(value) for key, value in info.items() if str(key).startswith('best_ckpt') and value}


def runs_of(checkpoint: dict) -> list[tuple[str, int]]:
    """Returns MMEngine's names of the runs of a checkpoint's training, and the steps at which they began.

    A training that was resumed has several, which :class:`.OwnFilesHook` records; without it, MMEngine keeps the first.
    """
    return info_of(checkpoint).get(RUNS) or [(info_of(checkpoint).get('experiment_name', ''), 0)]


def last_of(file: Path) -> str:
    """Returns the checkpoint that a file ``last_checkpoint`` names; in its own folder, if the work dir was moved.

    Raises:
        CheckpointNotFoundError: If there is no such file.
    """
    named = Path(file.read_text(encoding='utf-8').strip())
    parts = named.relative_to(named.anchor).parts
    inside = [file.parent.joinpath(*parts[start:]) for start in range(len(parts))]
    found = next((place for place in (*inside, named) if place.is_file()), None)
    if found is None:
        raise CheckpointNotFoundError(f'{file} names {named}, which does not exist')
    return str(found)


# ---- reading without code


def read_file(path: str | os.PathLike, map_location: str | torch.device | None = 'cpu',
                         mmap: bool = False) -> dict:
    """Loads a checkpoint file (torch or safetensors) as a dict.

    Args:
        path (str | os.PathLike): A file.
        map_location (str | torch.device | None): Device of the tensors. With None, a torch file's tensors are restored
            on the device from which they were saved. Defaults to ``'cpu'``.
        mmap (bool): Whether to memory-map archives written by ``torch.save``, for callers that only inspect the tensors
            or copy them at once. The tensors become invalid when the file is overwritten, and checksums are not
            verified. Defaults to False.

    Raises:
        CheckpointNotFoundError: If the file does not exist.
        UnreadCheckpointError: If the file cannot be read, for example because memory is full.
        CheckpointError: If the file is truncated or corrupt, contains types that are not allowed, or does not contain
            a dict.
    """
    checkpoint = read_object(path, map_location, mmap)
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f'checkpoint {path} contains a {type(checkpoint).__name__}, not a dict of weights')
    for key in ('meta', 'message_hub'):
        if not isinstance(checkpoint.get(key, {}), dict):
            raise CheckpointError(f'checkpoint {path}: {key} must be a dict, got a {type(checkpoint[key]).__name__}')
    if DETAILS in (meta := checkpoint.get('meta', {})):
        try:
            details = dict(json.loads(meta[DETAILS]))
        except (TypeError, ValueError) as error:
            raise CheckpointError(f'checkpoint {path}: {DETAILS} in its metadata must be a JSON object, got '
                                  f'{str(meta[DETAILS])[:80]!r}') from error
        of_data = {key: details[key] for key in OF_DATA if key in details}
        checkpoint['meta'] = dict(dataset_meta=of_data) | meta | {DETAILS: details}
    return checkpoint


def read_object(path: str | os.PathLike, map_location: str | torch.device | None = 'cpu', mmap: bool = False) -> object:
    """Returns the object in a torch or safetensors file, of any allowed type; see :func:`read_file`."""
    path = osp.expanduser(str(path))
    if reason := problem_of_file(path):
        kind = CheckpointError if osp.exists(path) else CheckpointNotFoundError
        raise kind(f'checkpoint {path} {reason}')
    if path.endswith('.safetensors'):
        try:
            from safetensors import safe_open
        except ImportError as error:
            raise UsageError(f"{path} needs safetensors: pip install 'mmvit_backbones[weights]'") from error
        read = partial(_read_safetensors, safe_open, device=str(map_location or 'cpu'))
    else:
        read = partial(_read_torch, map_location=map_location, mmap=mmap)
    try:
        return read(path)
    except (CheckpointError, torch.cuda.OutOfMemoryError):  # which says nothing about the file
        raise
    except Exception as error:  # a damaged pickle can raise any exception
        raise _error_of(path, error) from error


def _read_safetensors(safe_open: Callable, path: str, device: str) -> dict:
    with safe_open(path, framework='pt', device=device) as file:
        names, meta = file.keys(), file.metadata() or {}
        weights = {name: file.get_tensor(name) for name in names}
    return dict(state_dict=weights, meta=meta) if DETAILS in meta else weights


def _read_torch(path: str, map_location: str | torch.device | None, mmap: bool) -> object:
    with open(path, 'rb') as file:
        is_archive = zipfile.is_zipfile(file)
        if is_archive:
            _check_archive(file, with_sums=not mmap)
    if not versions.is_older('2.6'):
        allowed: list[Any] = [*((value, name) for name, value in TRAINING_STATE.items()), *DTYPES]
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location=map_location, weights_only=True, mmap=mmap and is_archive)
    warn_of_hole()
    if not is_archive:
        raise pickle.UnpicklingError
    return torch.load(path, map_location=map_location, pickle_module=ListedNames, mmap=mmap)


def _check_archive(path: str | IO[bytes], with_sums: bool) -> None:
    """Raises CheckpointError for an archive from which PyTorch would read wrong values without an error, or nothing.

    PyTorch reads no records that are marked as folders, maps compressed records as they are, and ignores checksums.
    """
    with zipfile.ZipFile(path) as archive:
        records, name = archive.infolist(), f'checkpoint {archive.filename}'
        names = {osp.basename(info.filename) for info in records}
        if 'data.pkl' not in names:
            raise CheckpointError(f'{name} is an archive that was not written by torch.save')
        if 'constants.pkl' in names:
            raise CheckpointError(f'{name} is a TorchScript archive, not a checkpoint')
        if foreign := [info.filename for info in records if info.compress_type or info.external_attr & 0x10]:
            raise CheckpointError(f'{name} was not written by torch.save: {foreign[0]} is compressed or a folder')
        if with_sums and (part := archive.testzip()):
            raise CheckpointError(f'{name} is truncated or corrupt: the checksum of {part} is wrong')


def _is_intact(path: str) -> bool:
    """Returns whether a file is an archive of torch.save with correct checksums."""
    try:
        return zipfile.is_zipfile(path) and _check_archive(path, with_sums=True) is None
    except Exception:  # a damaged archive can raise any exception
        return False


def _error_of(path: str, error: Exception) -> CheckpointError:
    """Returns the error to raise for a file that cannot be loaded; only a damaged file is called so."""
    download = None
    try:
        download = problem_of_download(path)
    except OSError as failed:  # is_zipfile hides it, and safetensors reports a missing file
        error = failed
    if reason := failure_of_system(error):
        return UnreadCheckpointError(f'checkpoint {path} cannot be read: {reason}')
    if download:
        problem = download
    elif isinstance(error, pickle.UnpicklingError):
        problem = _problem_of_pickle(path, error)
    elif _is_intact(path):
        reason = first_line(error)
        return UnreadCheckpointError(f'checkpoint {path} cannot be read by PyTorch {torch.__version__}: {reason}')
    else:  # PyTorch's own words do not help
        writer = 'safetensors' if path.endswith('.safetensors') else 'torch.save'
        problem = f'is truncated or corrupt, or was not written by {writer}'
    return CheckpointError(f'checkpoint {path} {problem}')


def problem_of_download(path: str | os.PathLike) -> str | None:
    """Returns why a file is not what was to be downloaded, or None if this cannot be seen without reading it all."""
    with open(path, 'rb') as file:
        start = file.read(256)
        if start.startswith(b'PK'):
            try:
                zipfile.ZipFile(file).close()
            except OSError:
                raise
            except Exception:  # a damaged archive can raise any exception
                return 'is truncated or corrupt'
    if start.lstrip().startswith(b'<'):
        return 'is a web page: the download failed'
    if start.lstrip().startswith(b'{'):
        return 'is JSON: an index of weights in several files, which must be joined into one, or no weights'
    if start.startswith(b'version https://git-lfs'):
        return 'is a pointer of Git LFS: run `git lfs pull` in its folder'
    return None if start else 'is empty'


def failure_of_system(error: Exception) -> str | None:
    """Returns why the system failed, such as "Cannot allocate memory", or None if it did not fail.

    PyTorch and safetensors raise errors of several classes, with the number and the words of the system in the message.
    """
    text = str(error)
    if isinstance(error, MemoryError) or 'DefaultCPUAllocator' in text:
        return os.strerror(errno.ENOMEM)
    numbers = {int(number) for number in re.findall(r'\b\d{1,3}\b', text)} - {errno.EINVAL}  # seeks in wrong archives
    return next((os.strerror(number) for number in numbers if os.strerror(number) in text), None)


def _problem_of_pickle(path: str, error: pickle.UnpicklingError) -> str:
    if refused := re.search(r'GLOBAL (\S+)', str(error)):
        return f'is refused: it contains more than weights (loading would import {refused[1]})'
    if _is_intact(path):
        return 'is refused: it contains more than weights'
    if versions.is_older('2.6'):
        return 'is truncated or corrupt, or has the format of PyTorch before 1.6, which needs PyTorch 2.6 or newer'
    return 'is truncated or corrupt, or was not written by torch.save'  # PyTorch suggests weights_only=False


def history_method(owner: type, name: str) -> Callable:
    """Replaces ``getattr`` in pickles: returns the methods that a pickled HistoryBuffer needs, and no others."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise pickle.UnpicklingError('GLOBAL builtins.getattr')
    return getattr(HistoryBuffer, name)


# Types other than tensors in checkpoints of MMEngine (log history) and timm (options).
TRAINING_STATE = {
    'argparse.Namespace': argparse.Namespace,
    'builtins.getattr': history_method,
    'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
    'numpy.dtype': np.dtype,
    'numpy.ndarray': np.ndarray,
    # NumPy 1 and 2 write different names.
    **{f'numpy.{core}.multiarray._reconstruct': np.empty(0).__reduce__()[0] for core in ('core', '_core')},
    **{f'numpy.{core}.multiarray.scalar': np.float64().__reduce__()[0] for core in ('core', '_core')},
}
DTYPES = [type(np.dtype(name)) for name in ('bool', 'uint8', 'int32', 'int64', 'float32', 'float64')]


class ListedNames:
    """Takes the place of the module ``pickle`` in ``torch.load``, and loads only the names listed here.

    For PyTorch before 2.6, which has no list of additional types for ``weights_only=True``.
    """

    names = {
        **TRAINING_STATE,
        '__builtin__.getattr': history_method,  # as protocol 2 writes it
        '_codecs.encode': codecs.encode,
        'collections.OrderedDict': OrderedDict,
        'torch.Size': torch.Size,
        'torch.device': torch.device,
        **{f'torch._utils.{name}': getattr(importlib.import_module('torch._utils'), name)
           for name in ('_rebuild_tensor_v2', '_rebuild_parameter')},
        **{str(dtype): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)},
    }

    class Unpickler(pickle.Unpickler):

        def find_class(self, module: str, name: str) -> object:
            if f'{module}.{name}' not in ListedNames.names:
                raise pickle.UnpicklingError(f'GLOBAL {module}.{name}')
            return ListedNames.names[f'{module}.{name}']


@cache
def warn_of_hole() -> None:
    """Warns once that a malicious file can execute code in this version of PyTorch (CVE-2025-32434)."""
    print_log(f'PyTorch {torch.__version__} cannot load untrusted .pth files safely (CVE-2025-32434): use PyTorch 2.6 '
              'or newer, or weights in the format safetensors', logger='current', level=30)
