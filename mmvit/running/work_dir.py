"""The work dir of a run: its lock, and the checkpoint from which MMEngine resumes."""
import errno
import os
import os.path as osp
import socket
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from mmengine.config import Config

from mmvit_backbones.errors import CheckpointNotFoundError, UsageError
from mmvit_backbones.utils.file_access import check_outputs, replaced_when_complete
from mmvit_backbones.zoo.reading import LAST, last_of

NO_LOCKS = errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP  # of file systems that have none


def lock_work_dir(work_dir: str) -> AbstractContextManager:
    """Creates the work dir, and locks it until this process ends or the context ends that is returned.

    Raises:
        UsageError: If the work dir cannot be written or is in use, or its ``.lock`` is not a file of its own.
    """
    return lock_file(osp.join(work_dir, '.lock'), f'process {os.getpid()} on {socket.gethostname()}')


def lock_file(path: str, owner: str = '', wait: bool = False) -> AbstractContextManager:
    """Locks a file until the context ends that is returned, and creates it and its folder if necessary.

    Args:
        path (str): Path of the file. Links are refused.
        owner (str): Who locks it, for others that try; stands beside it in ``PATH.owner``, because Windows lets nobody
            read a locked file. Defaults to nothing.
        wait (bool): Whether to wait for another process that holds the lock. Defaults to False.

    Raises:
        UsageError: If the file cannot be written, is a link or another kind of file, or is locked by another process.
    """
    from filelock import FileLock, Timeout
    folder, named = osp.dirname(path), Path(f'{path}.owner')
    try:
        os.makedirs(folder, exist_ok=True)
        if osp.lexists(path) and (osp.islink(path) or not osp.isfile(path) or os.stat(path).st_nlink > 1):
            raise UsageError(f'{path} must be a file with a single name, got a link or another kind of file; remove it')
        held = FileLock(path, fallback_to_soft=False).acquire(timeout=-1 if wait else 0)
    except Timeout as error:
        text = named.read_text(encoding='utf-8') if named.is_file() else 'another run'
        raise UsageError(f'work dir {folder} is in use by {text}; use another work dir for this run') from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise UsageError(f'work dir {folder} cannot be written: {error.strerror}') from error
        held = nullcontext()
    if owner:
        with replaced_when_complete(named) as part:
            part.write_text(owner, encoding='utf-8')
    return held


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
        with replaced_when_complete(file) as part:
            part.write_text(found, encoding='utf-8')
