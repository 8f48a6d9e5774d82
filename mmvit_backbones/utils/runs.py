"""Finds the last checkpoint and the config of a training in its work dir."""
from pathlib import Path

from ..errors import CheckpointNotFoundError, UsageError
from .files import why_no_file

LAST = 'last_checkpoint'  # MMEngine's text file with the path of the last checkpoint


def last_of(file: Path) -> str:
    """Returns the checkpoint that a file ``last_checkpoint`` names; in its own folder, if the work dir was moved.

    Raises:
        CheckpointNotFoundError: If there is no such file.
    """
    named = Path(file.read_text(encoding='utf-8').strip())
    parts = named.relative_to(named.anchor).parts
    inside = [file.parent.joinpath(*parts[start:]) for start in range(len(parts))]
    found = next((place for place in (*inside, named) if place.is_file()), None)
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
