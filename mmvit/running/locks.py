"""Locks files for one process at a time."""
import errno
import os
import os.path as osp
from contextlib import AbstractContextManager, nullcontext

from mmvit_backbones.errors import UsageError

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
