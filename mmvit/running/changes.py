"""Compares a training that goes on with the config inside its checkpoint."""
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from mmengine.config import Config

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.literals import read_values
from mmvit_backbones.zoo.checkpoints import read_checkpoint

from ..configs.machine import KEYS, OF_MACHINE
from ..configs.saved import without_start
from ..fine_tuning import FIELDS, FineTuning, find_difference
from ..utils.distributed import is_first_process
from .run_folder import RunFolder

OF_START = {'work_dir', 'launcher', 'load_from', 'resume'}
# Places of data, which may be moved; and the framework of a class, which only configs with base files name.
LEFT_OUT = {'data_root', 'ann_file', 'data_prefix', '_scope_'}
SEED = 'randomness.seed'


def check_changes(cfg: Config, checkpoint: Mapping | None = None, given: Mapping[str, Any] = MappingProxyType({})
                  ) -> None:
    """Prints which settings of a training that goes on differ from those with which its checkpoint was written.

    Args:
        cfg (Config): The finished config of the training.
        checkpoint (Mapping | None): What is in the checkpoint. Defaults to None, which reads it.
        given (Mapping): Arguments of :func:`fine_tune` that were given. Defaults to none.

    Raises:
        UsageError: If the seed of a recipe differs, as the checkpoint's is used, or an argument is neither what the
            recipe records nor what it chose.
        CheckpointError: If the checkpoint cannot be read.
    """
    run, meta = RunFolder(cfg), (checkpoint or read_checkpoint(cfg.load_from, mmap=True)).get('meta') or {}
    before, now = (dict(flat(without_start(values))) for values in (
        read_values(str(meta.get('cfg') or ''))[0] or cfg.to_dict(), cfg.to_dict()))
    of_machine = [KEYS[name] for name in cfg.get(OF_MACHINE) or ()]
    changes = [key for key in {**before, **now} if before.get(key) != now.get(key)
               and key.partition('.')[0] not in OF_START and not LEFT_OUT & {*key.split('.')}
               and not any(each.match(key) for each in of_machine)]
    others = {name: value for name, value in given.items()
              if value not in [before.get(key) for key in FIELDS[name].metadata['keys']]}
    refused = find_difference(others, run.given if run.is_recipe else FineTuning(network=''))
    if run.is_recipe and SEED in changes and now.get(SEED) not in (None, meta.get('seed')):
        refused = 'seed', meta.get('seed'), now[SEED]
    if refused:
        name, old, new = refused
        raise UsageError(f'work dir {cfg.work_dir} holds a training with {name}={old}, which resuming cannot change, '
                         f'got {name}={new}; the same command without it, with another work_dir (--work-dir), trains '
                         'with it from the start')
    for key in changes if is_first_process() else ():
        if key != SEED:
            print(f'changed     {key}: {before.get(key)!r} -> {now.get(key)!r}', flush=True)


def flat(value: Any, place: str = '') -> Iterator[tuple[str, Any]]:
    """Yields the values in dicts and lists, with keys such as ``a.b.0``."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else None
    if not parts or not value:
        yield place, value
    else:
        for key, each in parts:
            yield from flat(each, f'{place}.{key}'.lstrip('.'))
