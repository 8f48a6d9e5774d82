"""Compares the trainings that checkpoints are of."""
import numpy as np
from mmengine.logging import HistoryBuffer

from ..utils.classes import classes_of

RUN = 'run'  # key of `meta` with the id of the training
MAX_HISTORY = 10**6  # of MMEngine, which then forgets the first losses


def are_of_one_run(checkpoint: dict, other: dict) -> bool:
    """Returns whether two checkpoints are of one training, which may have been interrupted, resumed, copied or moved.

    :class:`.OwnFilesHook` records the training in ``meta``. Other checkpoints are of one training if their classes are
    equal, and the losses that both have logged, at least one; a resumed training takes them over.
    """
    before, now = (each.get('meta') or {} for each in (checkpoint, other))
    if before.get(RUN) and now.get(RUN):
        return before[RUN] == now[RUN]
    losses, others = _losses(checkpoint), _losses(other)
    length = min(len(losses), len(others))
    is_cut = max(len(losses), len(others)) >= MAX_HISTORY
    return classes_of(before.get('dataset_meta')) == classes_of(now.get('dataset_meta')) and length > 0 and (
        is_cut or np.array_equal(losses[:length], others[:length], equal_nan=True))


def recorded_best(checkpoint: dict) -> dict[str, str]:
    """Returns the paths of the best checkpoints so far that a checkpoint of MMEngine records, by their key there."""
    info = (checkpoint.get('message_hub') or {}).get('runtime_info')
    return {key: str(value) for key, value in info.items() if str(key).startswith('best_ckpt') and value
            } if isinstance(info, dict) else {}


def _losses(checkpoint: dict) -> np.ndarray:
    scalars = (checkpoint.get('message_hub') or {}).get('log_scalars')
    history = scalars.get('train/loss') if isinstance(scalars, dict) else None
    losses = vars(history).get('_log_history') if isinstance(history, HistoryBuffer) else None
    if not isinstance(losses, np.ndarray) or losses.ndim != 1 or losses.dtype.kind not in 'fiu':
        return np.empty(0)
    return losses
