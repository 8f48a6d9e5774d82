"""The work dir of a run: its lock, and the checkpoint from which MMEngine resumes."""
import os
import os.path as osp
import socket
from contextlib import AbstractContextManager
from pathlib import Path

from mmvit_backbones.errors import CheckpointNotFoundError
from mmvit_backbones.utils.file_access import replaced_when_complete
from mmvit_backbones.zoo.reading import LAST, last_of

from ..utils.locks import lock_file


def lock_work_dir(work_dir: str) -> AbstractContextManager:
    """Creates the work dir, and locks it until this process ends or the context ends that is returned.

    Raises:
        UsageError: If the work dir cannot be written or is in use, or its ``.lock`` is not a file of its own.
    """
    return lock_file(osp.join(work_dir, '.lock'), f'process {os.getpid()} on {socket.gethostname()}')


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
