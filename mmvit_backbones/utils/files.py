"""Checks input files and opens output files.

Pipes and devices are rejected, because opening them may block forever. Links are rejected for output, because they may
lead to any file.
"""
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..errors import UsageError


def check_file(path: str | Path, what: str = 'file') -> None:
    """Raises UsageError unless a path is a regular file or a link to one."""
    if reason := why_no_file(path):
        raise UsageError(f'{what} {path} {reason}')


def why_no_file(path: str | Path) -> str | None:
    """Returns why a path is not a regular file, or None if it is one."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 'does not exist'
    except (OSError, ValueError) as error:
        return f'cannot be read: {reason_of(error)}'
    if stat.S_ISDIR(mode):
        return 'is a folder, not a file'
    return None if stat.S_ISREG(mode) else 'is a pipe or a device, not a file'


def open_output(path: str | Path, mode: str = 'wb', **options) -> IO:
    """Opens a file for writing like the built-in ``open``, but does not follow links.

    Raises:
        UsageError: If the path is a link, a pipe or a device, or cannot be written.
    """
    try:
        check_writable(path)
        return open(path, mode, opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o666), **options)
    except (OSError, ValueError) as error:
        reason = 'it is a link' if getattr(error, 'errno', None) == errno.ELOOP else reason_of(error)
        raise UsageError(f'{path} cannot be written: {reason}') from error


@contextmanager
def open_complete(path: Path, mode: str = 'wb') -> Iterator[IO]:
    """Opens a temporary file with the suffix ``.part`` for writing, and renames it to ``path`` when it is complete.

    Raises:
        UsageError: If the temporary file cannot be opened.
    """
    unfinished = path.with_suffix('.part')
    with open_output(unfinished, mode) as file:
        yield file
    unfinished.replace(path)


def check_writable(path: str | Path) -> None:
    """Raises OSError if a path is a pipe or a device, because opening a pipe waits for a reader."""
    if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
        raise OSError(errno.EINVAL, 'it is a pipe or a device, not a file')


def reason_of(error: OSError | ValueError) -> str:
    """Returns why a file cannot be opened; ``open`` raises ValueError for invalid characters in a path."""
    return getattr(error, 'strerror', None) or str(error)
