"""Finds the checkpoint and the config of a training in its work dir."""
from pathlib import Path

from ..errors import CheckpointNotFoundError, UsageError
from .files import why_no_file

LAST = 'last_checkpoint'  # MMEngine's text file with the path of the last checkpoint


def find_checkpoint(path: str) -> str:
    """Returns the checkpoint of a work dir: the newest ``best_*.pth``, or else the one named in ``last_checkpoint``.

    The file ``last_checkpoint`` itself also stands for the checkpoint that it names. Other files, and URLs, are
    returned as they are.

    Raises:
        CheckpointNotFoundError: If a work dir has no checkpoint, or ``last_checkpoint`` names a missing file.
    """
    folder = Path(path)
    if folder.name == LAST and folder.is_file():
        return _last_of(folder)
    if not folder.is_dir() or (folder / 'model.safetensors').exists():  # a folder of converted weights
        return path
    if best := sorted(folder.glob('best_*.pth'), key=lambda file: file.stat().st_mtime_ns):
        return str(best[-1])
    if (folder / LAST).is_file():
        return _last_of(folder / LAST)
    raise CheckpointNotFoundError(f'{path} has neither best_*.pth nor {LAST}, so it is not the work dir of a training '
                                  'that saved a checkpoint')


def _last_of(file: Path) -> str:
    named = Path(file.read_text().strip())
    places = named, file.parent / named.name  # the second if the work dir was moved
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise CheckpointNotFoundError(f'{file} names {named}, which does not exist')
    return str(found)


def find_config(checkpoint: str) -> str:
    """Returns the config that the training saved beside its checkpoint.

    Raises:
        UsageError: If there is none, or more than one.
        CheckpointNotFoundError: If the checkpoint does not exist.
    """
    if '://' not in checkpoint and (reason := why_no_file(checkpoint)):
        raise CheckpointNotFoundError(f'checkpoint {checkpoint} {reason}')
    found = [] if '://' in checkpoint else sorted(Path(checkpoint).parent.glob('*.py'))
    if len(found) != 1:
        reason = f'are several configs, {", ".join(file.name for file in found)},' if found else 'is no config'
        raise UsageError(f'there {reason} beside checkpoint {checkpoint}; pass its config with --config FILE, or '
                         'config=FILE in Python')
    return str(found[0])
