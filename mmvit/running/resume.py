"""Reads the checkpoint from which a run resumes."""
import os
from pathlib import Path

from mmvit_backbones.engine.hooks.finite import state_of
from mmvit_backbones.errors import CheckpointError, CheckpointNotFoundError, UnreadCheckpointError, UsageError
from mmvit_backbones.zoo.files import LAST, last_of
from mmvit_backbones.zoo.loading import check_finite, read_checkpoint

TRAINING_STATE = {'meta', 'message_hub', 'optimizer'}


def point_to_own(work_dir: str) -> None:
    """Lets ``last_checkpoint``, from which MMEngine resumes, name the file in this work dir, if the dir was moved."""
    file = Path(work_dir, LAST)
    if not file.is_file():
        return
    try:
        found = last_of(file)
    except CheckpointNotFoundError:  # reported when it is read
        return
    if file.is_symlink() or found != file.read_text(encoding='utf-8').strip():
        part = file.with_name(f'{LAST}.part')
        part.write_text(found, encoding='utf-8')
        os.replace(part, file)


def read_to_resume(path: str, folder: str | None = None) -> dict:
    """Reads a checkpoint, whose tensors are read and checked too.

    Args:
        path (str): The checkpoint.
        folder (str | None): Where others are looked for. Defaults to None: its folder.

    Raises:
        UsageError: If it has no training state.
        CheckpointError: If it cannot be read, or has NaN or inf; the message names the newest one that can be resumed.
    """
    try:
        checkpoint = read_checkpoint(path)
        check_finite(state_of(checkpoint), path)
    except (CheckpointNotFoundError, UnreadCheckpointError):  # the file is not known to be invalid
        raise
    except CheckpointError as error:
        others = [other for other in _newest_first(folder or Path(path).parent) if other != Path(path)]
        good = next((other for other in others if _can_be_resumed(other)), None)
        remedy = (f'the newest one that can be resumed: --resume {good}' if good else
                  'no other checkpoint in its folder can be resumed; start a new run without --resume')
        raise type(error)(f'{error}; {remedy}') from error
    if not TRAINING_STATE <= checkpoint.keys():
        raise UsageError(f'checkpoint {path} has no training state to resume; use load_from={path} to start from its '
                         'weights')
    return checkpoint


def _newest_first(folder: str | Path) -> list[Path]:
    """Returns the checkpoints of a folder, except copies of the best one."""
    paths = [path for path in Path(folder).glob('*.pth') if not path.name.startswith('best_')]
    return sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def _can_be_resumed(path: Path) -> bool:
    try:
        checkpoint = read_checkpoint(str(path))
        check_finite(state_of(checkpoint), str(path))
    except CheckpointError:
        return False
    return TRAINING_STATE <= checkpoint.keys()
