"""Checks the paths of input and output files, reads text, and writes files as a whole."""
import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..errors import MMViTError, UsageError

FULL = errno.ENOSPC, errno.EDQUOT, errno.EFBIG
UTF_16 = b'\xff\xfe', b'\xfe\xff'  # its byte order marks


def check_file(path: str | Path, what: str = 'file') -> None:
    """Raises UsageError unless a path is a regular file or a link to one."""
    if reason := problem_of_file(path):
        raise UsageError(f'{what} {path} {reason}')


def problem_of_file(path: str | Path) -> str | None:
    """Returns why a path is not a regular file, or None if it is one."""
    if os.path.isfile(path):
        return None
    if os.path.isdir(path):
        return 'is a folder, not a file'
    return 'is a pipe or a device, not a file' if os.path.exists(path) else 'does not exist'


def read_text(path: str | Path) -> str:
    """Returns the content of a text file in UTF-8, without the byte order mark of some editors.

    Raises:
        UsageError: If the file cannot be read or has another encoding.
    """
    return decode_text(read_bytes(path), path)


def read_bytes(path: str | Path) -> bytes:
    """Returns the content of a file; raises UsageError if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f'{path} cannot be read: {error.strerror}') from error


def decode_text(content: bytes, path: str | Path) -> str:
    """Returns the text of a file in UTF-8, without byte order mark; raises UsageError for other encodings."""
    text, wrong = '', content.find(0)  # UTF-16 without a mark has zeros
    try:
        text = content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        wrong = error.start if wrong < 0 else min(wrong, error.start)
    if wrong >= 0:
        kind = ' of UTF-16' if content.startswith(UTF_16) else ''
        raise UsageError(f'{path} must be in UTF-8, got the byte 0x{content[wrong]:02x}{kind} at position {wrong} in '
                         f'line {content.count(10, 0, wrong) + 1}; save the file as UTF-8')
    return text


@contextmanager
def full_disk_named(what: str | Path, kind: type[MMViTError] = UsageError) -> Iterator[None]:
    """Replaces the exception of a full disk, or of a limit to the size of files, by one line that names ``what``."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise kind(f'{what} cannot be written: {error.strerror}') from error


def check_outputs(argument: str, outputs: Iterable[str | os.PathLike], inputs: Iterable[object]) -> None:
    """Raises UsageError if a file to write is one of the files that are read.

    Files are compared, not their names: by links, hard links and, where the system takes them for the same, names in
    another case or Unicode form.

    Args:
        argument (str): Argument that decides what is written, for the message.
        outputs (Iterable[str | PathLike]): Files that will be written.
        inputs (Iterable[object]): Files that are read; what names no file, such as a URL or None, does not matter.
    """
    read = {identity: path for path in inputs if (identity := _identity(path)) is not None}
    for path in outputs if read else ():
        same = read.get(_identity(path))
        if same is not None:
            alias = '' if os.fspath(path) == str(same) else f', which is {same},'
            raise UsageError(f'{argument}: {path}{alias} is read, and would be replaced; choose another {argument}')


def _identity(path: Any) -> object:
    """Returns what a file has in common with its links, or None if there is no such file."""
    try:
        status = os.stat(path)
    except (OSError, TypeError, ValueError):
        return None
    # Some file systems of Windows do not number files.
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.normcase(os.path.realpath(path))


def part_of(path: Path) -> str:
    """Returns how the names of temporary folders for a file begin; long names of files exceed the system's limit."""
    return f'.{path.name[:40]}.'


@contextmanager
def replaced_when_complete(path: str | os.PathLike, companions: Iterable[str] = ()) -> Iterator[Path]:
    """Yields a path of the same name in a temporary folder, and moves the files written there beside ``path``.

    They replace existing files, of which links are replaced, and what these point to is unchanged. After an error, the
    existing files are unchanged. Several processes, also of several machines, may write a file.

    Args:
        path (str | PathLike): File to write.
        companions (Iterable[str]): Suffixes, after that of the file, of other files that belong to it. Those of an
            earlier file are removed if there are no new ones.

    Raises:
        UsageError: If the path is a folder, or the disk is full; the temporary folder is removed.
    """
    path = Path(path)
    if path.is_dir() and not path.is_symlink():
        raise UsageError(f'{path} cannot be written: it is a folder')
    with full_disk_named(path), TemporaryDirectory(prefix=part_of(path), suffix='.part', dir=path.parent) as folder:
        yield Path(folder, path.name)
        written = sorted(Path(folder).iterdir(), reverse=True)  # the file itself comes last
        for file in written:
            os.replace(file, path.with_name(file.name))
        for name in {f'{path.name}{suffix}' for suffix in companions} - {file.name for file in written}:
            path.with_name(name).unlink(missing_ok=True)
