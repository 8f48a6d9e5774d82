"""Combines the command line of a resumed run with the options saved in its checkpoint."""
import argparse
import os.path as osp
import shlex
import sys

from mmengine.config import Config

from ..errors import UsageError
from ..training.resume import find_intact_checkpoint, read_training_state
from ..utils.distributed import is_first_process

# Types of the options that are saved in checkpoints. A resumed run uses the saved options of a group unless the command
# line contains an option of the same group.
GROUPS = (
    dict(class_folder=str, coco_folder=str, seg_folder=str, data_root=str), dict(val_fraction=float), dict(seed=int),
    dict(allow_left_out=bool), dict(pretrained=(str, bool)), dict(freeze=int), dict(epochs=int, iters=int),
    dict(lr=float), dict(auto_scale_lr=bool), dict(batch_size=int), dict(early_stop=int), dict(precision=str),
    dict(on_bad_data=str, max_skipped=int), dict(tensorboard=bool), dict(wandb=bool),
)


def saved_options(args: argparse.Namespace) -> dict:
    """Returns the options to be saved in the checkpoints of a training run."""
    options = {name: getattr(args, name) for group in GROUPS for name in group if _is_given(getattr(args, name))}
    return dict(options, cfg_options=args.cfg_options or {})


def resume_options(args: argparse.Namespace, cfg: Config) -> argparse.Namespace:
    """Returns the arguments, completed with the options saved in the checkpoint to resume from.

    Args:
        args (argparse.Namespace): The arguments of the command line.
        cfg (Config): The config with its work dir.

    Returns:
        argparse.Namespace: The arguments; ``resume`` is the path of the checkpoint, or None for a new run.

    Raises:
        CheckpointError: If the checkpoint does not exist or is damaged.
        UsageError: If there is no checkpoint to resume from, it has no training state, or its options cannot be used.
    """
    path = _find_checkpoint(args.resume, cfg)
    if path is None:
        return argparse.Namespace(**{**vars(args), 'resume': None})
    saved = _read_options(path)
    taken = {name: saved[name] for group in GROUPS for name in group
             if name in saved and not any(_is_given(getattr(args, other)) for other in group)}
    if taken and is_first_process():
        parts = (f'{name}={value}' for name, value in taken.items())
        print(f'using options saved in {path}: {", ".join(parts)}', file=sys.stderr)
    given = args.cfg_options or {}
    if texts := [shlex.quote(f'{key}={value}') for key, value in saved.get('cfg_options', {}).items()
                 if key not in given and not _is_numeric(value)]:
        raise UsageError(f'checkpoint {path} was trained with --cfg-options {" ".join(texts)}; pass these options '
                         'again: of saved --cfg-options, only numbers are used, as other values could execute code')
    options = {**saved.get('cfg_options', {}), **given}
    return argparse.Namespace(**{**vars(args), **taken, 'cfg_options': options, 'resume': path})


def _read_options(path: str) -> dict:
    """Returns the options saved in a checkpoint; raises UsageError if they are invalid."""
    saved = read_training_state(path)['meta'].get('options', {})
    types = {name: kind for group in GROUPS for name, kind in group.items()}
    if not isinstance(saved, dict) or any(
            not isinstance(value, types.get(name, dict)) for name, value in saved.items()):
        raise UsageError(f'checkpoint {path} must contain options of mmvit train, got {saved!r:.200}')
    return saved


def _is_numeric(value) -> bool:
    """Returns whether a value is a number, None, or a list of numbers and None."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_numeric, value))
    return value is None or isinstance(value, (int, float))


def _find_checkpoint(resume: str | None, cfg: Config) -> str | None:
    """Returns the path of the checkpoint to resume from, or None for a new run."""
    if resume is None and cfg.get('resume'):
        resume = cfg.get('load_from') or 'auto'
    path = find_intact_checkpoint(cfg.work_dir) if resume in ('newest', 'auto') else resume
    if path is None and resume == 'newest':
        state = 'has no training checkpoint' if osp.isdir(cfg.work_dir) else 'does not exist'
        raise UsageError(f'nothing to resume: work dir {cfg.work_dir} {state}; omit --resume, or use --resume '
                         'auto to start a new run if there is no checkpoint')
    return path


def _is_given(value) -> bool:
    return value is not None and value is not False
