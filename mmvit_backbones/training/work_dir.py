"""Locks the work dir of a training."""
import fcntl
import os
import os.path as osp
import socket
from pathlib import Path
from typing import IO

from ..errors import UsageError
from ..utils.files import open_output


def lock_work_dir(work_dir: str) -> IO:
    """Creates the work dir and locks it until this process ends or the file is closed.

    Raises:
        UsageError: If it cannot be written, is in use, or has links to other files than checkpoints: MMEngine would
            write its log, its config and ``last_checkpoint`` through them.
    """
    try:
        os.makedirs(work_dir, exist_ok=True)
        links = [path.name for path in Path(work_dir).iterdir() if path.is_symlink() and not path.is_dir()]
        if others := [name for name in links if not name.endswith('.pth')]:
            raise UsageError(f'work dir {work_dir} has the link {others[0]}, through which a training could write '
                             'elsewhere: remove it')
        file = open_output(osp.join(work_dir, '.lock'), 'a+')
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the process's own: workers do not inherit it
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            raise UsageError(f'work dir {work_dir} is in use by {file.read().strip() or "another run"}; '
                             'give this run another') from error
        except OSError:
            return file  # a file system without locks
        file.truncate(0)
        print(f'process {os.getpid()} on {socket.gethostname()}', file=file, flush=True)
    except OSError as error:
        raise UsageError(f'work dir {work_dir} cannot be written: {error.strerror}') from error
    return file
