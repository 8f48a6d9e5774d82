"""Compares a training that goes on with the config inside its checkpoint."""
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.literals import read_values
from mmvit_backbones.zoo.checkpoints import read_checkpoint

from ..configs.machine import KEYS, OF_MACHINE
from ..configs.saved import without_start
from ..utils.distributed import is_first_process
from .checkpoints import whole_one_named
from .run_folder import RunFolder

OF_START = {'work_dir', 'launcher', 'load_from', 'resume'}
PLACES = {'data_root', 'ann_file', 'data_prefix'}  # of data, which may be moved
SEED = 'randomness.seed'


def tell_changes(cfg: Config, checkpoint: Mapping | None = None) -> None:
    """Prints which settings of a training that goes on differ from those with which its checkpoint was written.

    Args:
        cfg (Config): The finished config of the training.
        checkpoint (Mapping | None): What is in the checkpoint. Defaults to None, which reads it.

    Raises:
        UsageError: If the seed of a recipe differs: the checkpoint's is used.
        CheckpointError: If the checkpoint cannot be read.
    """
    with whole_one_named(cfg.load_from):
        meta = (checkpoint or read_checkpoint(cfg.load_from, mmap=True)).get('meta') or {}
    before, _ = read_values(str(meta.get('cfg') or ''))
    settled = [KEYS[name] for name in cfg.get(OF_MACHINE) or ()]
    changes = dict(differences(without_start(before), without_start(cfg.to_dict()))) if before else {}
    changes = {key: change for key, change in changes.items() if not any(each.match(key) for each in settled)}
    _, seed = changes.pop(SEED, (None, None))
    if RunFolder(cfg).is_recipe and seed not in (None, meta.get('seed')):
        raise UsageError(f'seed (--seed) of a training that goes on is that of its checkpoint {cfg.load_from}, '
                         f'{meta.get("seed")}, got {seed}; another work_dir (--work-dir) starts a training with it')
    if is_first_process():
        for key, (old, new) in changes.items():
            print(f'changed     {key}: {old!r} -> {new!r}', flush=True)


def differences(before: Any, now: Any, place: str = '') -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yields the keys of settings that differ, each with its old and its new value; None for none."""
    before, now = (list(value) if isinstance(value, tuple) else value for value in (before, now))
    if isinstance(before, dict) and isinstance(now, dict):
        pairs = {key: (before.get(key), now.get(key)) for key in (*now, *before)}
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = dict(enumerate(zip(before, now)))
    else:
        if before != now:
            yield place, (before, now)
        return
    for key, pair in pairs.items():
        if key not in PLACES and (place or key not in OF_START):
            yield from differences(*pair, f'{place}.{key}'.lstrip('.'))
