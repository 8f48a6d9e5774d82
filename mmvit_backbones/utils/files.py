"""Writes files in folders that others may have filled."""
import errno
import os
from pathlib import Path
from typing import IO

from ..errors import UsageError


def open_output(path: str | Path, mode: str = 'wb', **options) -> IO:
    """Returns a file that is open for writing, as ``open`` does, but follows no link of that name.

    Raises:
        UsageError: If it is a link, or cannot be written.
    """
    try:
        return open(path, mode, opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o666), **options)
    except OSError as error:
        reason = 'it is a link' if error.errno == errno.ELOOP else error.strerror
        raise UsageError(f'{path} cannot be written: {reason}') from error
