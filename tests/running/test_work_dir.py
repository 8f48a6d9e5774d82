"""The work dir of a run is locked."""
import errno
import fcntl

from helpers import raises

from mmvit.running.work_dir import lock_work_dir
from mmvit_backbones.errors import UsageError


def test_work_dir_is_created_and_locked_again(tmp_path):
    folder = tmp_path / 'new/run'
    for _ in range(2):
        with lock_work_dir(str(folder)), raises(UsageError, folder, 'in use'):
            lock_work_dir(str(folder))


def test_file_systems_without_locks_are_used_without_a_lock(tmp_path, monkeypatch):
    def refuse(*arguments) -> None:
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', refuse)
    with lock_work_dir(str(tmp_path)), lock_work_dir(str(tmp_path)):
        pass
