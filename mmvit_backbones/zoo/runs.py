"""Finds the checkpoint that a work dir stands for, among those of its last training."""
import logging
import os.path as osp
from pathlib import Path

import numpy as np
from mmengine.logging import HistoryBuffer, print_log

from ..errors import CheckpointError, CheckpointNotFoundError
from ..utils.classes import classes_of
from ..utils.runs import LAST, last_of
from .files import load_checkpoint_file

MAX_HISTORY = 10**6  # of MMEngine, which then forgets the first losses


def find_checkpoint(path: str) -> str:
    """Returns the checkpoint of a work dir: the best one of its last training, or else that of ``last_checkpoint``.

    The best one is the newest ``best_*.pth`` beside the last one or in the work dir. One of another training
    (:func:`are_of_one_run`) is not taken, with a warning. The file ``last_checkpoint`` itself also stands for the
    checkpoint that it names. Other files, and URLs, are returned as they are.

    Raises:
        CheckpointNotFoundError: If a work dir has no checkpoint, or ``last_checkpoint`` names a missing file.
    """
    folder = Path(path)
    if folder.name == LAST and folder.is_file():
        return last_of(folder)
    if not folder.is_dir() or (folder / 'model.safetensors').exists():  # a folder of converted weights
        return path
    try:
        last, missing = last_of(folder / LAST) if (folder / LAST).is_file() else None, None
    except CheckpointNotFoundError as error:
        last, missing = None, error
    folders = {folder, Path(last).parent} if last else {folder}
    best = sorted((file for place in folders for file in place.glob('best_*.pth')), reverse=True,
                  key=lambda file: file.stat().st_mtime_ns)
    if best and last:
        best = _best_of_run(best, last)
    if not best and not last:
        raise missing or CheckpointNotFoundError(f'{path} has neither best_*.pth nor {LAST}, so it is not the work dir '
                                                 'of a training that saved a checkpoint')
    return str(best[0]) if best else str(last)


def are_of_one_run(checkpoint: dict, other: dict) -> bool:
    """Returns whether two checkpoints are of one training, which may have been interrupted, resumed, copied or moved.

    They are if the losses that both have logged are equal, which a resumed training takes over, and their classes.
    Checkpoints without losses are compared by their classes alone.
    """
    before, now = (classes_of((each.get('meta') or {}).get('dataset_meta')) for each in (checkpoint, other))
    if before != now:
        return False
    losses, others = _losses(checkpoint), _losses(other)
    length = min(len(losses), len(others))
    return max(len(losses), len(others)) >= MAX_HISTORY or np.array_equal(
        losses[:length], others[:length], equal_nan=True)


def recorded_best(checkpoint: dict) -> dict[str, str]:
    """Returns the paths of the best checkpoints so far that a checkpoint of MMEngine records, by their key there."""
    info = (checkpoint.get('message_hub') or {}).get('runtime_info')
    return {key: str(value) for key, value in info.items() if str(key).startswith('best_ckpt') and value
            } if isinstance(info, dict) else {}


def _best_of_run(best: list[Path], last: str) -> list[Path]:
    """Returns those of the best checkpoints that are of the run of the last one; first those that it records."""
    try:
        newest = load_checkpoint_file(last, mmap=True)
    except CheckpointError:
        return best
    own = [file for file in best if _is_of_run(file, newest)]
    if not own:
        print_log(f'{best[0]} is of another training than {last}, and is not used', 'current', logging.WARNING)
    names = {osp.basename(path) for path in recorded_best(newest).values()}
    return sorted(own, key=lambda file: file.name not in names)


def _is_of_run(file: Path, checkpoint: dict) -> bool:
    try:
        return are_of_one_run(load_checkpoint_file(file, mmap=True), checkpoint)
    except CheckpointError:  # reported when it is loaded
        return True


def _losses(checkpoint: dict) -> np.ndarray:
    scalars = (checkpoint.get('message_hub') or {}).get('log_scalars')
    history = scalars.get('train/loss') if isinstance(scalars, dict) else None
    losses = vars(history).get('_log_history') if isinstance(history, HistoryBuffer) else None
    if not isinstance(losses, np.ndarray) or losses.ndim != 1 or losses.dtype.kind not in 'fiu':
        return np.empty(0)
    return losses
