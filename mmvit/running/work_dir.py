"""The work dir of a run: its name and its lock, and the checkpoint from which MMEngine resumes."""
import os
import os.path as osp
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from mmvit_backbones.errors import CheckpointNotFoundError, UsageError
from mmvit_backbones.utils.file_access import replaced_when_complete
from mmvit_backbones.zoo.reading import LAST, last_of

from ..utils.locks import lock_file

# Files that are locked: by the process that trains, and by the command that prepares and starts a training.
LOCK, TAKEN = '.lock', '.taken'


class HoldsTrainingError(UsageError):
    """Raised if a new training would replace one that is in a work dir."""

    def __init__(self, work_dir: str) -> None:
        super().__init__(f'work dir {work_dir} holds a training, whose recipe stays as it is; --resume goes on with '
                         'it, and another --work-dir starts a new one')


def owner() -> str:
    return f'process {os.getpid()} on {socket.gethostname()}'


def lock_work_dir(work_dir: str) -> AbstractContextManager:
    """Creates the work dir, and locks it until this process ends or the context ends that is returned.

    Raises:
        UsageError: If the work dir cannot be written or is in use, or its ``.lock`` is not a file of its own.
    """
    return lock_file(osp.join(work_dir, LOCK), owner())


def holds_training(work_dir: str) -> bool:
    """Returns whether a checkpoint is in a work dir, or a run is going on there."""
    has_checkpoint = any(Path(work_dir).glob('*.pth')) or osp.isfile(osp.join(work_dir, LAST))
    return has_checkpoint or is_locked(osp.join(work_dir, LOCK))


def is_locked(path: str) -> bool:
    """Returns whether a file exists and another process, or this one, has locked it."""
    if osp.isfile(path):
        try:
            with lock_file(path):
                pass
        except UsageError:
            return True
    return False


def find_unused_name(base: str) -> str:
    """Returns the newest of the folders ``base``, ``base_2``, ..., or the next name if a training or a command has it.

    Until a folder holds a training, its recipe may be written again.
    """
    names = list_numbered(base)
    if not names:
        return base
    newest = names[-1]
    if not (holds_training(newest) or is_locked(osp.join(newest, TAKEN))):
        return newest
    return f'{base}_{2 if newest == base else int(newest.rpartition("_")[2]) + 1}'


def list_numbered(base: str) -> list[str]:
    """Returns the folders named ``base``, ``base_2``, ``base_3``, ..., the newest last."""
    parent, name = osp.split(base)
    pattern = re.compile(rf'{re.escape(name)}(?:_([2-9]|[1-9]\d+))?')
    found = {int(match[1] or 1): osp.join(parent, entry) for entry in (os.listdir(parent) if osp.isdir(parent) else ())
             if (match := pattern.fullmatch(entry))}
    return [found[number] for number in sorted(found)]


@contextmanager
def reserve_work_dir(base: str, work_dir: str | None = None, resume: str | bool = False) -> Iterator[str]:
    """Yields the work dir of a network and a folder, which no other command can take until the context ends.

    Args:
        base (str): Its name if none is given; a second training gets ``base_2``, and so on.
        work_dir (str | None): The folder that was given. Defaults to None: none.
        resume (str | bool): Whether a training is to go on, or its checkpoint or folder; without a path, and if no
            folder is given, that in the newest of these folders. Defaults to False.

    Raises:
        UsageError: If the folder cannot be written or is in use, or holds a training that is not to go on.
    """
    if work_dir is None and resume in (True, 'auto'):
        work_dir = next((name for name in reversed(list_numbered(base)) if holds_training(name)), None)
        if work_dir:
            print(f'work dir    {work_dir}: the newest training of this network and task goes on', flush=True)
    elif work_dir is None and resume:
        place = osp.realpath(str(resume) if osp.isdir(str(resume)) else osp.dirname(str(resume)))
        work_dir = next((name for name in list_numbered(base) if osp.realpath(name) == place), None)
    if work_dir is not None:
        with take(work_dir), removed_if_unused(work_dir):
            if holds_training(work_dir) and not resume:
                raise HoldsTrainingError(work_dir)
            yield work_dir
        return
    while True:
        name = find_unused_name(base)
        try:
            if not osp.isdir(name):
                os.makedirs(name)
            held = take(name)
        except FileExistsError:  # another command was faster
            continue
        except UsageError:
            if name == find_unused_name(base):
                raise
            continue
        with held, removed_if_unused(name):
            yield name
        return


@contextmanager
def removed_if_unused(work_dir: str) -> Iterator[None]:
    """Removes a work dir, in which nothing but locks was written, after an error."""
    try:
        yield
    except BaseException:
        if {name.removesuffix('.owner') for name in os.listdir(work_dir)} <= {LOCK, TAKEN}:
            shutil.rmtree(work_dir, ignore_errors=True)
        raise


def take(work_dir: str) -> AbstractContextManager:
    """Locks a work dir for a command that prepares and starts a run there; no run may be going on."""
    held, lock = lock_file(osp.join(work_dir, TAKEN), owner()), osp.join(work_dir, LOCK)
    if osp.lexists(lock):
        with lock_file(lock):
            pass
    return held


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
