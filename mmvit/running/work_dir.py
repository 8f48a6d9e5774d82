"""The work dir of a run: its lock, and the checkpoint from which MMEngine resumes."""
import fcntl
import os
import os.path as osp
import socket
import stat
from pathlib import Path
from typing import IO

from mmvit_backbones.errors import CheckpointNotFoundError, UsageError
from mmvit_backbones.utils.runs import LAST, last_of


def lock_work_dir(work_dir: str) -> IO:
    """Creates the work dir, and locks it until this process ends or the returned file is closed.

    Raises:
        UsageError: If the work dir cannot be written or is in use, or its ``.lock`` is not a file of its own.
    """
    file = lock_file(osp.join(work_dir, '.lock'))
    file.truncate(0)
    print(f'process {os.getpid()} on {socket.gethostname()}', file=file, flush=True)
    return file


def lock_file(path: str, wait: bool = False) -> IO:
    """Opens and locks a file, and creates it and its folder if necessary.

    Args:
        path (str): Path of the file. Links are refused, because what they point to would be written.
        wait (bool): Whether to wait for another process that holds the lock. Defaults to False.

    Raises:
        UsageError: If the file cannot be written, is a link or another kind of file, or is locked by another process.
    """
    folder = osp.dirname(path)
    try:
        os.makedirs(folder, exist_ok=True)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if osp.islink(path):
            raise UsageError(f'{path} must be a file, got a link to {os.readlink(path)}; remove it') from error
        raise UsageError(f'work dir {folder} cannot be written: {error.strerror}') from error
    status = os.fstat(number)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(number)
        raise UsageError(f'{path} must be a file with a single name, got another kind of file or a hard link; remove '
                         'it')
    file = os.fdopen(number, 'r+')
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))  # workers do not inherit the lock
    except (BlockingIOError, PermissionError) as error:
        with file:
            raise UsageError(f'work dir {folder} is in use by {file.read().strip() or "another run"}; use another work '
                             'dir for this run') from error
    except OSError:
        pass  # a file system without locks
    return file


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
