"""Checks the paths of input files, writes files as a whole, and shortens paths that are shown."""
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from ..errors import MMViTError, UsageError

FULL = errno.ENOSPC, errno.EDQUOT, errno.EFBIG


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


@contextmanager
def full_disk_named(what: str | Path, kind: type[MMViTError] = UsageError) -> Iterator[None]:
    """Replaces the exception of a full disk, or of a limit to the size of files, by one line that names ``what``."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise kind(f'{what} cannot be written: {error.strerror}') from error


@contextmanager
def replaced_when_complete(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside a file, and replaces the file if there is no error; else, the file is unchanged.

    Raises:
        UsageError: If the disk is full; the temporary file is removed.
    """
    path = Path(path)
    part = path.with_name(f'{path.name}.{uuid4().hex}.part')  # processes on several machines may write it
    try:
        with full_disk_named(path):
            yield part
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def short_path(path: str) -> str:
    """Returns an absolute path inside the current folder as a relative one, as users write it; others unchanged."""
    try:
        relative = os.path.relpath(path)
    except ValueError:  # on another drive of Windows
        return path
    return relative if os.path.isabs(path) and not relative.startswith(os.pardir) else path
