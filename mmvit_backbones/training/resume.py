"""Finds the checkpoint from which a run resumes, and reports changes to the config."""
import difflib
import sys
from math import inf
from pathlib import Path

from mmengine.config import Config

from ..errors import CheckpointError, CheckpointNotFoundError, UsageError
from ..utils.distributed import is_first_process
from ..utils.runs import find_checkpoint
from ..zoo.loading import read_checkpoint

TRAINING_STATE = {'meta', 'message_hub', 'optimizer'}
# Settings that differ in every resumed run or do not affect training.
IGNORED = ('load_from =', 'resume =', 'launcher =', 'work_dir =', 'randomness =')


def checkpoint_to_resume(resume: str, work_dir: str) -> str | None:
    """Returns the path of the checkpoint to resume from, or None for a new run.

    Args:
        resume (str): Path of a checkpoint, or of the work dir of another run; ``'newest'`` for the newest checkpoint in
            the work dir; or ``'auto'``, which starts a new run if the work dir has no checkpoint.
        work_dir (str): Folder of the run.

    Raises:
        UsageError: If ``resume`` is ``'newest'`` and there is no checkpoint.
    """
    if Path(resume).is_dir():
        resume, work_dir = 'newest', resume
    if resume not in ('newest', 'auto'):
        return find_checkpoint(resume)
    paths = _newest_first(work_dir)
    if not paths and resume == 'newest':
        raise UsageError(f'nothing to resume: work dir {work_dir} has no checkpoint; omit --resume, or use --resume '
                         'auto to start a new run if there is no checkpoint')
    return str(paths[0]) if paths else None


def _newest_first(work_dir: str | Path) -> list[Path]:
    """Returns the checkpoints of a work dir, except copies of the best one."""
    paths = [path for path in Path(work_dir).glob('*.pth') if not path.name.startswith('best_')]
    return sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def _read(path: str) -> dict:
    """Reads a checkpoint, whose tensors are read and checked too.

    Raises:
        CheckpointError: If it cannot be read; the message names the newest checkpoint of the folder that can.
    """
    try:
        return read_checkpoint(path)
    except CheckpointNotFoundError:
        raise
    except CheckpointError as error:
        others = [other for other in _newest_first(Path(path).parent) if other != Path(path)]
        good = next((other for other in others if _has_training_state(other)), None)
        remedy = (f'the newest one that can be read: --resume {good}' if good else
                  'no other checkpoint in its folder can be resumed; start a new run without --resume')
        raise CheckpointError(f'{error}; {remedy}') from error


def _has_training_state(path: Path) -> bool:
    try:
        return TRAINING_STATE <= read_checkpoint(str(path)).keys()
    except CheckpointError:
        return False


def resume_from(cfg: Config, path: str) -> None:
    """Sets the config to resume from a checkpoint and use its seed, and prints how the config has changed.

    Raises:
        UsageError: If the checkpoint has no training state, or the config has a different seed.
        CheckpointError: If the checkpoint is missing or corrupt, or contains types that are not allowed.
    """
    checkpoint = _read(path)
    if not TRAINING_STATE <= checkpoint.keys():
        raise UsageError(f'checkpoint {path} has no training state to resume; '
                         f'use load_from={path} to start from its weights')
    meta = checkpoint['meta']
    cfg.load_from, cfg.resume = path, True
    _set_seed(cfg, path, meta.get('seed'))
    if not is_first_process():
        return
    unit = 'epoch' if 'max_epochs' in cfg.train_cfg else 'iter'
    length = cfg.train_cfg.get(f'max_{unit}s', inf)
    if meta.get(unit, 0) >= length:
        print(f'training of {length} {"epochs" if unit == "epoch" else "iterations"} has already finished; there is '
              'nothing to resume')
    if meta.get('cfg') and (changes := changed_lines(meta['cfg'], cfg.pretty_text)):
        print('the config has changed since the checkpoint was written; training continues with:', *changes,
              sep='\n  ', file=sys.stderr)


def _set_seed(cfg: Config, path: str, seed: int | None) -> None:
    """Sets the checkpoint's seed, because MMEngine reads the checkpoint only after building the data loaders."""
    given = (cfg.get('randomness') or {}).get('seed')
    if given not in (None, seed):
        raise UsageError(f'checkpoint {path} was trained with seed {seed}, not {given}; omit the seed, or start a new '
                         f'run from the weights with load_from={path}')
    cfg.randomness = dict(cfg.get('randomness') or {}, seed=seed)


def changed_lines(before: str, now: str) -> list[str]:
    """Returns the lines of a printed config that have changed: ``- line`` as before, ``+ line`` as now."""
    return [line for line in difflib.ndiff(before.splitlines(), now.splitlines())
            if line.startswith(('- ', '+ ')) and not line[2:].startswith(IGNORED)]
