"""Checks the paths of input files, and shortens paths that are shown."""
import os
from pathlib import Path

from ..errors import UsageError


def check_file(path: str | Path, what: str = 'file') -> None:
    """Raises UsageError unless a path is a regular file or a link to one."""
    if reason := why_no_file(path):
        raise UsageError(f'{what} {path} {reason}')


def why_no_file(path: str | Path) -> str | None:
    """Returns why a path is not a regular file, or None if it is one."""
    if os.path.isfile(path):
        return None
    if os.path.isdir(path):
        return 'is a folder, not a file'
    return 'is a pipe or a device, not a file' if os.path.exists(path) else 'does not exist'


def short_path(path: str) -> str:
    """Returns an absolute path inside the current folder as a relative one, as users write it; others unchanged."""
    relative = os.path.relpath(path)
    return relative if os.path.isabs(path) and not relative.startswith(os.pardir) else path
