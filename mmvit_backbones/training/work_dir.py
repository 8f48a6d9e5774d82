"""Locks the work dir of a run."""
import fcntl
import os
import os.path as osp
import socket
from typing import IO

from ..errors import UsageError


def lock_work_dir(work_dir: str) -> IO:
    """Creates the work dir, and locks it until this process ends or the returned file is closed.

    Raises:
        UsageError: If the work dir cannot be written or is in use.
    """
    try:
        os.makedirs(work_dir, exist_ok=True)
        file = open(osp.join(work_dir, '.lock'), 'a+')
    except OSError as error:
        raise UsageError(f'work dir {work_dir} cannot be written: {error.strerror}') from error
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # workers do not inherit the lock
    except (BlockingIOError, PermissionError) as error:
        with file:
            file.seek(0)
            raise UsageError(f'work dir {work_dir} is in use by {file.read().strip() or "another run"}; '
                             'use another work dir for this run') from error
    except OSError:
        return file  # a file system without locks
    file.truncate(0)
    print(f'process {os.getpid()} on {socket.gethostname()}', file=file, flush=True)
    return file
