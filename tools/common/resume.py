"""Resumes from the newest intact checkpoint of a work dir, and reports changes of the config."""
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from math import inf
from pathlib import Path

from mmengine.config import Config

from mmvit_backbones.errors import CheckpointError, UsageError
from mmvit_backbones.utils.file_configs import dicts_in, dicts_with_paths, parse_config
from mmvit_backbones.zoo.loading import read_checkpoint

TRAINING_STATE = {'meta', 'message_hub', 'optimizer'}

# Differences of any resumed run, or without effect on the training.
_UNTOLD = ('load_from', 'resume', 'launcher', 'work_dir', 'randomness.seed', 'model_wrapper_cfg', 'visualizer',
           'default_hooks.logger', 'default_hooks.visualization')


def set_resume(cfg: Config, resume: str | None) -> None:
    """Sets the config to resume from a path, or from the newest checkpoint of the work dir, with its training's seed.

    For ``'newest'``, a work dir without checkpoints raises UsageError; for ``'auto'``, the training starts.
    """
    if resume is None and cfg.get('resume'):
        resume = cfg.get('load_from') or 'auto'
    path = find_intact_checkpoint(cfg.work_dir) if resume in ('newest', 'auto') else resume
    if path is None and resume == 'newest':
        state = 'has no checkpoint of a training' if os.path.isdir(cfg.work_dir) else 'does not exist'
        raise UsageError(f'nothing to resume: work dir {cfg.work_dir} {state}; start without --resume, or '
                         'with --resume auto, which starts where there is no checkpoint')
    cfg.resume = path is not None
    if not cfg.resume:
        return
    checkpoint = read_checkpoint(path, mmap=True)
    if not TRAINING_STATE <= checkpoint.keys():
        raise UsageError(f'checkpoint {path} has no training state to resume; '
                         f'load_from={path} starts from its weights')
    meta = checkpoint['meta']
    unit = 'epoch' if 'max_epochs' in cfg.train_cfg else 'iter'
    length = cfg.train_cfg.get(f'max_{unit}s', inf)
    if meta.get(unit, 0) >= length:
        print(f'the training of {length} {"epochs" if unit == "epoch" else "iterations"} is finished: '
              'there is nothing to resume')
    cfg.load_from = path
    # The data loaders are built before mmengine reads the checkpoint.
    cfg.randomness = dict(cfg.get('randomness') or {}, seed=meta.get('seed'))
    changes = list(config_changes(meta.get('cfg', ''), cfg.pretty_text))
    if changes and os.environ.get('RANK', '0') == '0':
        print('the config has changed since the checkpoint was written:', *changes, sep='\n  ', file=sys.stderr)


def find_intact_checkpoint(work_dir: str) -> str | None:
    """Returns the newest checkpoint with a training state in a work dir, or None if there is none.

    Newer damaged ones are renamed, with one line each. If all are damaged, raises UsageError.
    """
    is_damaged = False
    for path in _newest_first(work_dir):
        try:
            if TRAINING_STATE <= read_checkpoint(str(path)).keys():
                return str(path)
        except (CheckpointError, OSError) as error:
            is_damaged, aside = True, path.with_name(f'{path.name}.damaged')
            with suppress(FileNotFoundError):  # another process was quicker
                path.rename(aside)
            if os.environ.get('RANK', '0') == '0':
                print(f'set aside as {aside.name}: {error}', file=sys.stderr)
    if is_damaged:
        raise UsageError(f'no checkpoint in {work_dir} is intact: start from the beginning, without --resume')
    return None


def config_changes(before: str, now: str) -> Iterator[str]:
    """Yields one line per value that differs between two printed configs, without executing them."""
    try:
        before, now = _leaves(parse_config(before)), _leaves(parse_config(now))
    except ValueError as error:
        yield f'it cannot be compared: {error}'
        return
    for name in dict.fromkeys([*before, *now]) if before else ():
        if before.get(name) != now.get(name) and not name.startswith(_UNTOLD):
            yield f'{name}: {before.get(name, "not set")} -> {now.get(name, "not set")}'


def _leaves(config: dict) -> dict[str, str]:
    """Returns the values in a config as text, by their paths."""
    return {f'{path}{key}': repr(value) for path, node in dicts_with_paths(config) for key, value in node.items()
            if not any(dicts_in(value))}


def _newest_first(work_dir: str) -> list[Path]:
    paths = [path for path in Path(work_dir).glob('*.pth') if not path.name.startswith('best_')]
    with suppress(OSError):  # the checkpoints may be elsewhere
        paths.append(Path(Path(work_dir, 'last_checkpoint').read_text().strip()))
    times = {}
    for path in paths:
        with suppress(FileNotFoundError):  # another process has set it aside
            if path.is_file():
                times[path.resolve()] = path.stat().st_mtime_ns
    return sorted(times, key=times.get, reverse=True)
