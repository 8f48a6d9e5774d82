"""The work dir of a run, its locks, and the names of its logs."""
import errno
import os
import os.path as osp
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger

from mmvit_backbones.errors import UsageError
from mmvit_backbones.zoo.reading import LAST

from ..utils.distributed import is_first_process

# Files that are locked: by the process that trains, and by the command that prepares and starts a training.
LOCK, TAKEN = '.lock', '.taken'
TEST = 'test'  # folder in the work dir of a training, in which tests replace none of its files
NO_LOCKS = errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP  # of file systems that have none


def lock_file(path: str, wait: bool = False) -> AbstractContextManager:
    """Locks a file until the context ends that is returned, and creates it and its folder if necessary.

    Args:
        path (str): Path of the file.
        wait (bool): Whether to wait for another process that holds the lock. Defaults to False.

    Raises:
        UsageError: If the file cannot be written, or is locked by another process.
    """
    from filelock import FileLock, Timeout
    folder = osp.dirname(path)
    try:
        os.makedirs(folder, exist_ok=True)
        return FileLock(path, fallback_to_soft=False).acquire(timeout=-1 if wait else 0)
    except Timeout as error:
        raise UsageError(f'work dir {folder} is in use by another run; use another work dir for this run') from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise UsageError(f'work dir {folder} cannot be written: {error.strerror}') from error
        return nullcontext()


def lock_work_dir(work_dir: str) -> AbstractContextManager:
    """Creates the work dir, and locks it until this process ends or the context ends that is returned.

    Raises:
        UsageError: If the work dir cannot be written or is in use.
    """
    return lock_file(osp.join(work_dir, LOCK))


def holds_training(work_dir: str) -> bool:
    """Returns whether a checkpoint is in a work dir, or a run is going on there."""
    has_checkpoint = any(Path(work_dir).glob('*.pth')) or osp.isfile(osp.join(work_dir, LAST))
    return has_checkpoint or is_locked(osp.join(work_dir, LOCK))


def folder_of_mistakes(work_dir: str) -> str:
    """Returns where a test writes mistakes: to ``test`` in the work dir of a training, whose own files stay."""
    return osp.join(work_dir, TEST) if holds_training(work_dir) else work_dir


def check_new(work_dir: str) -> None:
    """Raises UsageError if a new training would replace one that is in a work dir."""
    if holds_training(work_dir):
        raise UsageError(f'work dir {work_dir} holds a training, whose recipe stays as it is; resume=True (--resume) '
                         'goes on with it, and another work_dir (--work-dir) starts a new one')


def is_locked(path: str) -> bool:
    """Returns whether a file exists and another process, or this one, has locked it."""
    if osp.isfile(path):
        try:
            with lock_file(path):
                pass
        except UsageError:
            return True
    return False


@contextmanager
def reserve_work_dir(work_dir: str, resume: str | bool = False) -> Iterator[None]:
    """Keeps a work dir for the training of a network and a folder, so that no other command can take it meanwhile.

    Args:
        work_dir (str): The folder.
        resume (str | bool): Whether a training in it is to go on, or its checkpoint or folder. Defaults to False.

    Raises:
        UsageError: If the folder cannot be written or is taken, or holds a training that is not to go on.
    """
    with lock_file(osp.join(work_dir, TAKEN)):
        if not resume:
            check_new(work_dir)
        yield


@contextmanager
def unused_second(cfg: Config) -> Iterator[None]:
    """Waits until no log of this second is in the work dir or in this process, and keeps other processes waiting."""
    if not is_first_process():
        yield
        return
    name = cfg.get('experiment_name') or osp.splitext(osp.basename(cfg.filename or ''))[0]
    with lock_file(osp.join(cfg.work_dir, '.start'), wait=True):
        while True:
            now = time.strftime('%Y%m%d_%H%M%S')
            logger = f'{name}_{now}' if name else now
            if not osp.exists(osp.join(cfg.work_dir, now)) and not MMLogger.check_instance_created(logger):
                break
            time.sleep(0.05)
        yield
