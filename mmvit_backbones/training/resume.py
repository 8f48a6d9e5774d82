"""Resumes from the newest intact checkpoint in a work dir, and reports changes to the config."""
import sys
from collections.abc import Iterator
from contextlib import suppress
from math import inf
from pathlib import Path

from mmengine.config import Config

from ..errors import CheckpointError, UsageError
from ..utils.config import dicts_in, dicts_with_paths, read_config
from ..utils.distributed import is_first_process
from ..utils.runs import configs_beside
from ..zoo.loading import read_checkpoint

TRAINING_STATE = {'meta', 'message_hub', 'optimizer'}

# Settings that differ in every resumed run or do not affect training.
_IGNORED = ('load_from', 'resume', 'launcher', 'work_dir', 'randomness.seed', 'model_wrapper_cfg', 'visualizer',
            'default_hooks.logger', 'default_hooks.visualization')


def read_training_state(path: str) -> dict:
    """Reads a checkpoint with training state.

    Raises:
        UsageError: If the checkpoint has no training state.
        CheckpointError: If the checkpoint is missing or corrupt, or contains types that are not allowed.
    """
    checkpoint = read_checkpoint(path, mmap=True)
    if not TRAINING_STATE <= checkpoint.keys():
        raise UsageError(f'checkpoint {path} has no training state to resume; '
                         f'use load_from={path} to start from its weights')
    return checkpoint


def resume_from(cfg: Config, path: str) -> None:
    """Sets the config to resume from a checkpoint and use its seed, and prints how the config has changed.

    Raises:
        UsageError: If the checkpoint has no training state, or the config has a different seed.
        CheckpointError: If the checkpoint is missing or corrupt, or contains types that are not allowed.
    """
    meta = read_training_state(path)['meta']
    cfg.load_from, cfg.resume = path, True
    _set_seed(cfg, path, meta.get('seed'))
    unit = 'epoch' if 'max_epochs' in cfg.train_cfg else 'iter'
    length = cfg.train_cfg.get(f'max_{unit}s', inf)
    if meta.get(unit, 0) >= length and is_first_process():
        print(f'training of {length} {"epochs" if unit == "epoch" else "iterations"} has already finished; there is '
              'nothing to resume')
    saved = configs_beside(path)
    if len(saved) == 1 and is_first_process():
        report_changes(saved[0], cfg)


def _set_seed(cfg: Config, path: str, seed: int | None) -> None:
    """Sets the checkpoint's seed, because MMEngine reads the checkpoint only after building the data loaders."""
    given = (cfg.get('randomness') or {}).get('seed')
    if given not in (None, seed):
        raise UsageError(f'checkpoint {path} was trained with seed {seed}, not {given}; omit the seed, or start a new '
                         f'run from the weights with load_from={path}')
    cfg.randomness = dict(cfg.get('randomness') or {}, seed=seed)


def find_intact_checkpoint(work_dir: str) -> str | None:
    """Returns the newest checkpoint with training state in a work dir, or None.

    Newer checkpoints that are damaged are renamed and reported, one per line.

    Raises:
        UsageError: If checkpoints are damaged and no other checkpoint has training state.
    """
    is_damaged = False
    for path in _newest_first(work_dir):
        try:
            if TRAINING_STATE <= read_checkpoint(str(path)).keys():
                return str(path)
        except (CheckpointError, OSError) as error:
            is_damaged, aside = True, path.with_name(f'{path.name}.damaged')
            with suppress(FileNotFoundError):  # another process has renamed the file
                path.rename(aside)
            if is_first_process():
                print(f'set aside as {aside.name}: {error}', file=sys.stderr)
    if is_damaged:
        raise UsageError(f'no intact checkpoint in {work_dir} has training state; start a new run')
    return None


def report_changes(saved: Path, cfg: Config) -> None:
    """Prints one line per value that differs between the config saved in the work dir and a config."""
    try:
        before = read_config(str(saved))
    except UsageError as error:
        print(f'the config cannot be compared with the saved one: {error}', file=sys.stderr)
        return
    changes = [line for line in differences(before.to_dict(), cfg.to_dict()) if not line.startswith(_IGNORED)]
    if changes:
        print(f'the config differs from {saved}; training continues with:', *changes, sep='\n  ', file=sys.stderr)


def differences(before: dict, now: dict) -> Iterator[str]:
    """Yields one line per value that differs between two configs: its path, the old and the new value.

    A dict that has been wrapped in a new dict yields a single line.
    """
    moved = _moved(before, now)
    for old, new in moved.items():
        yield f'{new.rstrip(".")}: was {old.rstrip(".")}'
    before, now = dict(_leaves(before)), dict(_leaves(now))
    for name in dict.fromkeys([*before, *now]):
        has_moved = (name not in now and name.startswith(tuple(moved))
                     or name not in before and name.startswith(tuple(moved.values())))
        if before.get(name) != now.get(name) and not has_moved:
            yield f'{name}: {before.get(name, "not set")} -> {now.get(name, "not set")}'


def _moved(before: dict, now: dict) -> dict[str, str]:
    """Returns the new path of each dict that has been wrapped in a new dict, keyed by the old path."""
    before, now = dict(dicts_with_paths(before)), dict(dicts_with_paths(now))
    return {path: f'{path}{key}.' for path, node in before.items() for key, part in now.get(path, {}).items()
            if part == node and f'{path}{key}.' not in before}


def _leaves(node: dict | list | tuple, path: str = '') -> Iterator[tuple[str, str]]:
    """Yields the path and the text of each value in a config; a list without dicts is a single value."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if any(dicts_in(value)):
            yield from _leaves(value, f'{path}{key}.')
        else:
            yield f'{path}{key}', repr(value)


def _newest_first(work_dir: str) -> list[Path]:
    """Returns the checkpoints in a work dir except ``best_*``, newest first, regardless of ``last_checkpoint``."""
    times = {}
    for path in Path(work_dir).glob('*.pth'):
        with suppress(FileNotFoundError):  # another process has renamed the file
            if path.is_file() and not path.name.startswith('best_'):
                times[path] = path.stat().st_mtime_ns
    return sorted(times, key=lambda path: times[path], reverse=True)
