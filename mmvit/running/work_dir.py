"""The work dir of a run: its lock, and the checkpoint from which MMEngine resumes."""
import os
import os.path as osp
import socket
import stat
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from mmengine.config import Config

from mmvit_backbones.errors import CheckpointNotFoundError, UsageError
from mmvit_backbones.utils.file_access import check_outputs
from mmvit_backbones.zoo.reading import LAST, last_of

try:
    import fcntl
except ModuleNotFoundError:  # on Windows
    fcntl = None

# Links are not followed, pipes are not waited for, and processes that are started do not get the file; Windows has no
# such flags.
FLAGS = sum(getattr(os, name, 0) for name in ('O_NOFOLLOW', 'O_NONBLOCK', 'O_CLOEXEC'))
BEYOND = 2**30  # byte that is locked on Windows, where others cannot read what is locked


def lock_work_dir(work_dir: str) -> ExitStack:
    """Creates the work dir, and locks it until this process ends or what is returned is closed.

    Raises:
        UsageError: If the work dir cannot be written or is in use, or its ``.lock`` is not a file of its own.
    """
    return lock_file(osp.join(work_dir, '.lock'), f'process {os.getpid()} on {socket.gethostname()}\n')


def lock_file(path: str, owner: str = '', wait: bool = False) -> ExitStack:
    """Opens and locks a file, and creates it and its folder if necessary; closing what is returned ends the lock.

    Args:
        path (str): Path of the file. Links are refused, because what they point to would be written.
        owner (str): What the file says while it is locked. Defaults to nothing.
        wait (bool): Whether to wait for another process that holds the lock. Defaults to False.

    Raises:
        UsageError: If the file cannot be written, is a link or another kind of file, or is locked by another process.
    """
    folder = osp.dirname(path)
    try:
        os.makedirs(folder, exist_ok=True)
        if osp.islink(path):
            raise UsageError(f'{path} must be a file, got a link to {os.readlink(path)}; remove it')
        number = os.open(path, os.O_RDWR | os.O_CREAT | FLAGS, 0o666)
    except OSError as error:
        raise UsageError(f'work dir {folder} cannot be written: {error.strerror}') from error
    status = os.fstat(number)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(number)
        raise UsageError(f'{path} must be a file with a single name, got another kind of file or a hard link; remove '
                         'it')
    held = ExitStack()
    file = held.enter_context(os.fdopen(number, 'r+', encoding='utf-8'))
    try:
        _lock(file, wait)
    except (BlockingIOError, PermissionError) as error:
        with held:
            raise UsageError(f'work dir {folder} is in use by {file.read().strip() or "another run"}; use another work '
                             'dir for this run') from error
    except OSError:
        pass  # a file system without locks
    file.truncate(0)
    file.write(owner)
    file.flush()
    return held


def _lock(file: IO, wait: bool) -> None:
    if fcntl is not None:
        fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))  # workers do not inherit the lock
    elif sys.platform == 'win32':
        import msvcrt
        while True:
            file.seek(BEYOND)
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                break
            except PermissionError:
                if not wait:
                    raise
                time.sleep(0.05)
            finally:
                file.seek(0)


def check_copy(cfg: Config) -> None:
    """Raises UsageError if the copy of its config that a run writes to the work dir would replace the config itself.

    The config of an earlier run in the work dir is such a copy, and may be replaced.
    """
    if cfg.filename and not osp.exists(osp.join(cfg.work_dir, LAST)):
        check_outputs('work_dir (--work-dir)', [osp.join(cfg.work_dir, osp.basename(cfg.filename))], [cfg.filename])


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
