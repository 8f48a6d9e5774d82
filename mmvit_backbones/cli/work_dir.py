"""One work dir for one run."""
import fcntl
import os
import os.path as osp
import socket
from typing import IO

from mmengine.config import Config

from .config import UsageError


def set_work_dir(cfg: Config, work_dir: str | None) -> None:
    name = osp.splitext(osp.basename(cfg.filename))[0]
    cfg.work_dir = work_dir or cfg.get('work_dir') or osp.join('work_dirs', name)


def lock_work_dir(work_dir: str) -> IO:
    """Make the work dir and keep other runs out of it until this process ends, in any way, or the file is closed."""
    try:
        os.makedirs(work_dir, exist_ok=True)
        file = open(osp.join(work_dir, '.lock'), 'a+')
    except OSError as error:
        raise UsageError(f'work dir {work_dir} cannot be written: {error.strerror}') from error
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the process's own: workers do not inherit it
    except (BlockingIOError, PermissionError) as error:
        file.seek(0)
        raise UsageError(f'work dir {work_dir} is in use by {file.read().strip() or "another run"}; '
                         'give this run another --work-dir') from error
    except OSError:
        return file  # a file system without locks
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
    file.flush()
    return file
