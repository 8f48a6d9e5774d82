"""Reads the checkpoint from which a run resumes."""
from pathlib import Path

from mmvit_backbones.errors import CheckpointError, CheckpointNotFoundError, UnreadCheckpointError, UsageError
from mmvit_backbones.zoo.loading import read_checkpoint

TRAINING_STATE = {'meta', 'message_hub', 'optimizer'}


def _newest_first(work_dir: str | Path) -> list[Path]:
    """Returns the checkpoints of a work dir, except copies of the best one."""
    paths = [path for path in Path(work_dir).glob('*.pth') if not path.name.startswith('best_')]
    return sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def read_to_resume(path: str) -> dict:
    """Reads a checkpoint, whose tensors are read and checked too.

    Raises:
        UsageError: If it has no training state.
        CheckpointError: If it cannot be read; the message names the newest checkpoint of the folder that can.
    """
    try:
        checkpoint = read_checkpoint(path)
    except (CheckpointNotFoundError, UnreadCheckpointError):  # the file is not known to be invalid
        raise
    except CheckpointError as error:
        others = [other for other in _newest_first(Path(path).parent) if other != Path(path)]
        good = next((other for other in others if _has_training_state(other)), None)
        remedy = (f'the newest one that can be read: --resume {good}' if good else
                  'no other checkpoint in its folder can be resumed; start a new run without --resume')
        raise CheckpointError(f'{error}; {remedy}') from error
    if not TRAINING_STATE <= checkpoint.keys():
        raise UsageError(f'checkpoint {path} has no training state to resume; use load_from={path} to start from its '
                         'weights')
    return checkpoint


def _has_training_state(path: Path) -> bool:
    try:
        return TRAINING_STATE <= read_checkpoint(str(path)).keys()
    except CheckpointError:
        return False
