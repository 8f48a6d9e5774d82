"""Files in a work dir never make a run write, rename or remove files outside the work dir."""
import errno
import fcntl
import os
import socket
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
from helpers import raises
from tiny_runs import runner_of

from mmvit_backbones.errors import UsageError
from mmvit_backbones.training.checkpoint_hook import AtomicBackend
from mmvit_backbones.training.resume import find_intact_checkpoint
from mmvit_backbones.training.work_dir import check_last_checkpoint, lock_work_dir


@pytest.fixture
def target(tmp_path):
    """A file outside the work dir that must not change."""
    path = tmp_path / 'target.pth'
    path.write_text('precious')
    (tmp_path / 'run').mkdir()
    yield path
    assert path.read_text() == 'precious'
    assert {path.name for path in tmp_path.iterdir()} == {'target.pth', 'run'}


def test_a_last_checkpoint_elsewhere_is_ignored(target, tmp_path):
    (tmp_path / 'run/last_checkpoint').write_text(str(target))
    assert find_intact_checkpoint(str(tmp_path / 'run')) is None


def test_mmengine_resumes_from_no_file_elsewhere(target, tmp_path):
    run = tmp_path / 'run'
    runner_of(run).train()
    runner_of(run, resume=True).train()  # resumes from its own checkpoint
    (run / 'last_checkpoint').write_text(str(target))
    with raises(UsageError, 'last_checkpoint', target, run, 'load_from'):
        runner_of(run, resume=True).train()


def test_a_damaged_checkpoint_behind_a_link_is_left_there(target, tmp_path):
    state = dict(meta={}, message_hub={}, optimizer={})
    torch.save(state, tmp_path / 'run/epoch_1.pth')
    (tmp_path / 'run/epoch_2.pth').symlink_to(target)
    found = find_intact_checkpoint(str(tmp_path / 'run'))
    assert found == str(tmp_path / 'run/epoch_1.pth')


@pytest.mark.parametrize('name', ['.lock', 'last_checkpoint', 'config.py'])
def test_links_are_refused(name, target, tmp_path):
    (tmp_path / 'run' / name).symlink_to(target)
    with raises(UsageError, name, 'link'):
        lock_work_dir(str(tmp_path / 'run'))


@pytest.mark.parametrize('name', ['epoch_1.pth', 'epoch_1.pth.tmp'])
def test_checkpoints_are_not_written_through_links(name, target, tmp_path):
    (tmp_path / 'run' / name).symlink_to(target)
    AtomicBackend().put(b'weights', tmp_path / 'run/epoch_1.pth')
    assert (tmp_path / 'run/epoch_1.pth').read_bytes() == b'weights'


HOLDER = """
import fcntl, sys
file = open(sys.argv[1], 'a+')
fcntl.lockf(file, fcntl.LOCK_EX)
print('locked', flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize('content, name', [('process 5 on node\n', 'process 5 on node;'), ('', 'another run;')])
def test_work_dir_in_use_is_refused(content, name, tmp_path):
    (tmp_path / '.lock').write_text(content)
    with subprocess.Popen([sys.executable, '-c', HOLDER, str(tmp_path / '.lock')], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with raises(UsageError, tmp_path, f'in use by {name}'):
            lock_work_dir(str(tmp_path))
        other.stdin.close()
    lock_work_dir(str(tmp_path)).close()


def test_lock_names_this_process(tmp_path):
    """Other content of the file is removed; links to folders and checkpoints are allowed."""
    folder = tmp_path / 'new/run'
    for _ in range(2):
        with lock_work_dir(str(folder)):
            assert (folder / '.lock').read_text() == f'process {os.getpid()} on {socket.gethostname()}\n'
        (folder / '.lock').write_text('process 1 on a machine with a very long name\n' * 9)
        for name, linked in (('latest', tmp_path), ('best.pth', tmp_path / 'other.pth')):
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(linked)


def test_file_systems_without_locks_are_used_without_a_lock(tmp_path, monkeypatch):
    def refuse(*arguments) -> None:
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'lockf', refuse)
    with lock_work_dir(str(tmp_path)) as file:
        assert not file.closed


@pytest.mark.parametrize('name', ['file', 'file/run'])
def test_work_dir_that_cannot_be_written(name, tmp_path):
    (tmp_path / 'file').write_text('')
    with raises(UsageError, tmp_path / name, 'cannot be written'):
        lock_work_dir(str(tmp_path / name))


@pytest.mark.parametrize('place, is_allowed', [
    ('run', True), ('linked', True), ('other', True), ('other/run', True), ('elsewhere', False), ('run/part', False)])
def test_last_checkpoint_names_a_file_in_a_folder_of_this_run(place, is_allowed, tmp_path):
    """The folders of a run are the work dir and those of the checkpoint hook."""
    run = tmp_path / 'run'
    hooks = dict(checkpoint=dict(type='AtomicCheckpointHook', out_dir=str(tmp_path / 'other')))
    runner = runner_of(run, resume=True, default_hooks=hooks)
    check_last_checkpoint(runner)  # without the file, MMEngine starts a new run
    (tmp_path / 'linked').symlink_to(run)
    (run / 'last_checkpoint').write_text(f'{tmp_path / place}/epoch_1.pth\n')
    for changes in ({}, dict(resume=True, load_from='a.pth')):
        check_last_checkpoint(runner_of(run, default_hooks=hooks, **changes))  # does not read the file
    with nullcontext() if is_allowed else raises(UsageError, run / 'last_checkpoint', tmp_path / place, 'load_from'):
        check_last_checkpoint(runner)


def test_last_checkpoint_is_a_file(tmp_path):
    runner = runner_of(tmp_path, resume=True)
    (tmp_path / 'file').write_text(str(tmp_path / 'epoch_1.pth'))
    for make, words in ((os.mkdir, 'is a folder'), (lambda path: os.symlink(tmp_path / 'file', path), 'is a link'),
                        (lambda path: os.symlink('nowhere', path), 'does not exist')):
        make(tmp_path / 'last_checkpoint')
        with raises(UsageError, tmp_path / 'last_checkpoint', words):
            check_last_checkpoint(runner)
        if os.path.islink(tmp_path / 'last_checkpoint'):
            os.remove(tmp_path / 'last_checkpoint')
        else:
            os.rmdir(tmp_path / 'last_checkpoint')
