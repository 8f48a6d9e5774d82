"""Locks files for one process at a time."""
import errno
import os
import os.path as osp
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.file_access import replaced_when_complete

NO_LOCKS = errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP  # of file systems that have none


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
