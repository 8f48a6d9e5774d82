"""The work dir of a run is locked."""
import errno
import fcntl
import os
import socket
from pathlib import Path

import pytest
from helpers import raises

from mmvit.running.work_dir import lock_work_dir
from mmvit_backbones.errors import UsageError


def test_work_dir_is_created_and_locked_again(tmp_path):
    folder = tmp_path / 'new/run'
    for _ in range(2):
        user = f'process {os.getpid()} on {socket.gethostname()};'
        with lock_work_dir(str(folder)), raises(UsageError, folder, user):
            lock_work_dir(str(folder))


def test_file_systems_without_locks_are_used_without_a_lock(tmp_path, monkeypatch):
    def refuse(*arguments) -> None:
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', refuse)
    with lock_work_dir(str(tmp_path)), lock_work_dir(str(tmp_path)):
        pass


@pytest.mark.parametrize('link', [Path.symlink_to, Path.hardlink_to])
def test_files_that_a_lock_points_to_are_not_written(link, tmp_path):
    (tmp_path / 'results').write_text('precious')
    link(tmp_path / '.lock', tmp_path / 'results')
    with raises(UsageError, tmp_path / '.lock', 'remove it'):
        lock_work_dir(str(tmp_path))
    assert (tmp_path / 'results').read_text() == 'precious'


def test_a_lock_that_is_no_file_is_refused(tmp_path):
    """Opening a pipe would wait for a reader."""
    os.mkfifo(tmp_path / '.lock')
    with raises(UsageError, tmp_path / '.lock', 'remove it'):
        lock_work_dir(str(tmp_path))
    with raises(UsageError, tmp_path / 'run/.lock', 'link'):
        (tmp_path / 'run').mkdir()
        (tmp_path / 'run/.lock').symlink_to(tmp_path / 'missing')
        lock_work_dir(str(tmp_path / 'run'))
    assert not (tmp_path / 'missing').exists()
