"""Locks the work dir of a run, and checks which checkpoint the run would resume from."""
import fcntl
import os
import os.path as osp
import socket
from pathlib import Path
from typing import IO

from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from ..errors import UsageError
from ..utils.files import open_output, why_no_file


def lock_work_dir(work_dir: str) -> IO:
    """Creates the work dir, and locks it until this process ends or the returned file is closed.

    Raises:
        UsageError: If the work dir cannot be written, is in use, or contains a link, unless the link is named ``*.pth``
            or leads to a folder. MMEngine could write the config or ``last_checkpoint`` through other links.
    """
    try:
        os.makedirs(work_dir, exist_ok=True)
        links = [path.name for path in Path(work_dir).iterdir() if path.is_symlink() and not path.is_dir()]
        if others := [name for name in links if not name.endswith('.pth')]:
            raise UsageError(f'work dir {work_dir} has the link {others[0]}, through which training could write '
                             'elsewhere; remove the link')
        file = open_output(osp.join(work_dir, '.lock'), 'a+')
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
    except OSError as error:
        raise UsageError(f'work dir {work_dir} cannot be written: {error.strerror}') from error
    return file


def check_last_checkpoint(runner: Runner) -> None:
    """Raises UsageError if ``last_checkpoint`` is not a regular file, or names a file outside this run's folders.

    These folders are the work dir and those of checkpoint hooks. Call this function before a checkpoint is
    loaded; MMEngine's ``Runner`` loads checkpoints after calling the hooks' ``before_run``.
    """
    path = osp.join(runner.work_dir, 'last_checkpoint')
    if not runner._resume or runner._load_from is not None or not osp.lexists(path):
        return
    if osp.islink(path) or why_no_file(path):
        raise UsageError(f'{path}, from which training would resume, {why_no_file(path) or "is a link"}')
    with open(path) as file:
        folder, name = osp.split(file.read(4096).strip())
    places = [hook.out_dir for hook in runner.hooks if isinstance(hook, CheckpointHook) and hook.out_dir]
    places += [osp.join(place, osp.basename(runner.work_dir.rstrip(os.sep))) for place in places]
    if osp.realpath(folder) not in map(osp.realpath, [runner.work_dir, *places]):
        raise UsageError(f'{path} names {osp.join(folder, name)}, which is not in {runner.work_dir}; to resume from '
                         'that file, pass it as load_from')
