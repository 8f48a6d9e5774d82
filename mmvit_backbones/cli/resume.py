"""From the newest intact checkpoint of a work dir, and what has changed since it was written."""
import ast
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from math import inf
from pathlib import Path

from mmengine.config import Config

from ..checkpoints import CheckpointError
from ..checkpoints.loading import read_checkpoint
from .config import UsageError

TRAINING_STATE = {'meta', 'message_hub', 'optimizer'}

# What differs in any resumed run, or says nothing about the training.
_UNTOLD = ('load_from', 'resume', 'launcher', 'work_dir', 'randomness.seed', 'model_wrapper_cfg', 'visualizer',
           'default_hooks.logger', 'default_hooks.visualization')


def resume_path(cfg: Config, resume: str | None) -> str | None:
    """Return the checkpoint to resume from, or None; resume is the value of --resume."""
    if resume is None and cfg.get('resume'):
        resume = cfg.get('load_from') or 'auto'
    return find_intact_checkpoint(cfg.work_dir) if resume == 'auto' else resume


def set_resume(cfg: Config, path: str) -> None:
    """Resume from a checkpoint, with the seed of the training that wrote it."""
    checkpoint = read_checkpoint(path, mmap=True)
    if not TRAINING_STATE <= checkpoint.keys():
        raise UsageError(f'checkpoint {path} has no training state to resume; '
                         f'--cfg-options load_from={path} starts from its weights')
    meta, planned = checkpoint['meta'], cfg.train_cfg
    by_epoch = 'max_epochs' in planned
    if meta.get('epoch', 0) >= planned.max_epochs if by_epoch else meta.get('iter', 0) >= planned.get('max_iters', inf):
        length = f'{planned.max_epochs} epochs' if by_epoch else f'{planned.max_iters} iterations'
        print(f'the training of {length} is finished: there is nothing to resume')
    cfg.resume = True
    cfg.load_from = path
    # The data loaders are built before mmengine reads the checkpoint.
    cfg.randomness = dict(cfg.get('randomness') or {}, seed=checkpoint['meta'].get('seed'))
    changes = list(config_changes(checkpoint['meta'].get('cfg', ''), cfg.pretty_text))
    if changes and os.environ.get('RANK', '0') == '0':
        print('the config has changed since the checkpoint was written:', *changes, sep='\n  ', file=sys.stderr)


def find_intact_checkpoint(work_dir: str) -> str | None:
    """The newest checkpoint with a training state in a work dir, or None if none was written.

    Damaged ones that are newer get another name, which is said in a line each.

    Raises:
        UsageError: All are damaged.
    """
    damaged = []
    for path in _newest_first(work_dir):
        reason = _damage(path)
        if reason is None:
            return str(path)
        if reason:
            aside = path.with_name(f'{path.name}.damaged')
            with suppress(FileNotFoundError):  # another process was quicker
                path.rename(aside)
            damaged.append(aside)
            if os.environ.get('RANK', '0') == '0':
                print(f'set aside as {aside.name}: {reason}', file=sys.stderr)
    if damaged:
        raise UsageError(f'no checkpoint in {work_dir} is intact; leave out --resume to start from the beginning')
    return None


def config_changes(before: str, now: str) -> Iterator[str]:
    """One line for each value that differs between two configs as texts, neither of which is run."""
    before, now = dict(_values(before)), dict(_values(now))
    for name in dict.fromkeys([*before, *now]) if before else ():
        if before.get(name) != now.get(name) and not name.startswith(_UNTOLD):
            yield f'{name}: {before.get(name, "not set")} -> {now.get(name, "not set")}'


def _newest_first(work_dir: str) -> list[Path]:
    paths = {path for path in Path(work_dir).glob('*.pth') if not path.name.startswith('best_')}
    with suppress(OSError):  # the checkpoints may be elsewhere
        last = Path(Path(work_dir, 'last_checkpoint').read_text().strip())
        paths |= {last} if last.is_file() and not any(last.samefile(path) for path in paths) else set()
    times = {}
    for path in paths:
        with suppress(FileNotFoundError):  # another process has set it aside
            times[path] = path.stat().st_mtime_ns
    return sorted(times, key=times.get, reverse=True)


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint; None if nothing is, '' if it is sound but holds no training state."""
    try:
        checkpoint = read_checkpoint(str(path))
    except (CheckpointError, OSError) as error:
        return str(error)
    return None if TRAINING_STATE <= checkpoint.keys() else ''


def _values(text: str) -> Iterator[tuple[str, str]]:
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign):
            yield from _leaves(ast.unparse(statement.targets[0]), statement.value)


def _leaves(name: str, node: ast.expr) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Call) and ast.unparse(node.func) == 'dict':
        for keyword in node.keywords:
            yield from _leaves(f'{name}.{keyword.arg}', keyword.value)
    elif isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
        for key, value in zip(node.keys, node.values):
            yield from _leaves(f'{name}.{key.value}', value)
    elif isinstance(node, ast.List) and any(isinstance(part, (ast.Call, ast.Dict)) for part in node.elts):
        for index, part in enumerate(node.elts):
            yield from _leaves(f'{name}.{index}', part)
    else:
        yield name, ast.unparse(node)
