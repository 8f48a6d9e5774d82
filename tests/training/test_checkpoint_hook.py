"""Writing checkpoints when the disk is full, a file cannot be written, or weights are not finite."""
import errno
import resource
import shutil
from types import SimpleNamespace

import pytest
import torch
from helpers import raises
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.fileio import register_backend
from mmengine.hooks import Hook
from tiny_runs import loader_of, log_of, runner_of

from mmvit_backbones.errors import TrainingError
from mmvit_backbones.training import AtomicCheckpointHook
from mmvit_backbones.training.checkpoint_hook import AtomicBackend

pytestmark = pytest.mark.usefixtures('own_signals')


def hooks(**options) -> dict:
    return dict(checkpoint=dict(type='AtomicCheckpointHook', **options))


class Rising(BaseMetric):
    """A metric that is better after each epoch."""

    def process(self, data_batch, data_samples) -> None:
        self.results.append(0)

    def compute_metrics(self, results) -> dict:
        self.value = getattr(self, 'value', 0.) + 1
        return dict(acc=self.value)


class Note(Hook):
    """Notes the last checkpoint of each epoch, from which a failed training would be resumed."""

    def __init__(self, notes: list) -> None:
        self.notes = notes

    def after_train_epoch(self, runner) -> None:
        self.notes.append(runner.message_hub.get_info('last_ckpt'))


VALIDATION = dict(val_dataloader=loader_of(), val_cfg=dict())


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if '.pth' in path.name)


def test_a_file_that_cannot_be_written_keeps_its_content(tmp_path):
    """The error has the needed and the free space, and the temporary file is removed."""
    backend, path = AtomicBackend(), tmp_path / 'new/folder/a.pth'
    backend.put(b'first', path)
    backend.put(b'second', path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    try:
        with raises(OSError, path, '1.5 MiB needed', ' free') as error:
            backend.put(bytes(3 * 2**19), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.errno == errno.EFBIG
    assert path.read_bytes() == b'second' and names(path.parent) == ['a.pth']


@pytest.mark.parametrize('options, left', [
    (dict(max_keep_ckpts=1), ['epoch_3.pth']), (dict(max_keep_ckpts=2), ['epoch_2.pth', 'epoch_3.pth']),
    (dict(max_keep_ckpts=1, save_best='acc', rule='greater'), ['best_acc_epoch_3.pth', 'epoch_3.pth'])])
def test_outdated_checkpoints_are_removed(options, left, tmp_path):
    changes = dict(val_evaluator=Evaluator(Rising()), **VALIDATION) if 'save_best' in options else {}
    (tmp_path / 'iter_9.pth.tmp').write_text('of a killed run')
    runner_of(tmp_path, default_hooks=hooks(interval=1, **options), **changes).train()
    assert names(tmp_path) == left


def test_a_failed_checkpoint_ends_the_training_and_keeps_the_older(tmp_path):
    (tmp_path / 'epoch_2.pth').mkdir()
    runner = runner_of(tmp_path, default_hooks=hooks(interval=1, max_keep_ckpts=1))
    with raises(TrainingError, 'epoch_2.pth', 'MiB needed', 'older checkpoints are intact', 'on_error=continue'):
        runner.train()
    assert names(tmp_path) == ['epoch_1.pth', 'epoch_2.pth'] and runner.epoch == 1


@pytest.mark.parametrize('blocked, best, saved', [
    ('epoch_1.pth', None, [None, 'epoch_2.pth', 'epoch_3.pth']),
    ('epoch_2.pth', None, ['epoch_1.pth', 'epoch_1.pth', 'epoch_3.pth']),
    ('best_acc_epoch_2.pth', 'acc', ['epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth']),
])
def test_a_failed_checkpoint_is_skipped_on_demand(blocked, best, saved, tmp_path):
    """Later checkpoints are saved again, and the older one is removed then."""
    (tmp_path / blocked).mkdir()
    changes = dict(val_evaluator=Evaluator(Rising()), **VALIDATION) if best else {}
    runner = runner_of(tmp_path, default_hooks=hooks(interval=1, max_keep_ckpts=1, save_best=best, rule='greater',
                                                     on_error='continue'), **changes)
    last = []
    runner.register_hook(Note(last), priority='LOWEST')
    runner.train()
    assert blocked in log_of(tmp_path) and 'training continues without it' in log_of(tmp_path)
    assert last == [name and str(tmp_path / name) for name in saved]
    assert names(tmp_path) == [blocked, *(['best_acc_epoch_3.pth'] if best else []), 'epoch_3.pth']


class CannotRemove(AtomicBackend):
    """Writes files to a folder from which the user may not remove any."""

    def remove(self, filepath: str) -> None:
        raise PermissionError(errno.EACCES, 'Permission denied', filepath)


def test_outdated_checkpoints_that_cannot_be_removed_are_reported(tmp_path):
    register_backend('cannot_remove', CannotRemove, force=True)
    runner = runner_of(tmp_path, default_hooks=hooks(
        interval=1, max_keep_ckpts=1, backend_args=dict(backend='cannot_remove')))
    runner.train()
    assert 'an outdated checkpoint cannot be removed: ' in log_of(tmp_path)
    assert names(tmp_path) == ['epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth']
    assert runner.message_hub.get_info('last_ckpt') == str(tmp_path / 'epoch_3.pth')


@pytest.mark.parametrize('optimizer, hook, copies', [
    ('AdamW', {}, 3), ('SGD', {}, 1), ('AdamW', dict(save_optimizer=False), 1), ('SGD', dict(out_dir='new/folder'), 1)])
def test_full_disk_is_noticed_before_the_first_step(optimizer, hook, copies, tmp_path, monkeypatch):
    """AdamW keeps two values per weight that is trained; the bias is frozen."""
    monkeypatch.chdir(tmp_path)
    needed = 4 * (2 + copies - 1)
    for free in (needed - 1, needed):
        monkeypatch.setattr(shutil, 'disk_usage', lambda path, free=free: SimpleNamespace(free=free))
        runner = runner_of(tmp_path, default_hooks=hooks(**hook),
                           optim_wrapper=dict(optimizer=dict(type=optimizer, lr=1.)))
        runner.model.linear.bias.requires_grad_(False)
        hook_of_run = next(each for each in runner.hooks if isinstance(each, AtomicCheckpointHook))
        if free < needed:
            with raises(TrainingError, hook.get('out_dir', tmp_path), 'needed', 'free', 'on_error=continue'):
                hook_of_run.before_train(runner)
            hook_of_run.on_error = 'continue'
        hook_of_run.before_train(runner)


def test_sizes_of_the_disk_are_in_mib(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: SimpleNamespace(free=3 * 2**20))
    runner = runner_of(tmp_path)
    runner.model.register_buffer('large', torch.zeros(2**20))
    with raises(TrainingError, '4 MiB needed, 3 MiB free'):
        runner.train()


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    runner = runner_of(tmp_path, default_hooks=hooks(interval=1),
                       optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e30)))
    with raises(TrainingError, 'iteration 4', 'not saved', 'learning rate 1e+30', 'linear.weight', 'checkpoint: none'):
        runner.train()
    assert names(tmp_path) == []


def test_the_best_weights_are_finite(tmp_path):
    """They are checked even if no other checkpoint is due."""
    runner = runner_of(tmp_path, default_hooks=hooks(interval=9, save_best='acc', rule='greater', save_last=False),
                       val_evaluator=Evaluator(Rising()), optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e30)),
                       **VALIDATION)
    with raises(TrainingError, 'iteration 4', 'not saved', 'linear.weight'):
        runner.train()
    assert names(tmp_path) == []


def test_folders_of_checkpoints(tmp_path):
    """Local folders are written atomically; addresses are left to MMEngine's backends."""
    assert AtomicCheckpointHook(out_dir='s3://bucket').backend_args is None
    for out_dir in (None, str(tmp_path)):
        assert AtomicCheckpointHook(out_dir=out_dir).backend_args == dict(backend='atomic')
    runner_of(tmp_path / 'run', default_hooks=hooks(out_dir=str(tmp_path / 'other'))).train()
    assert names(tmp_path / 'other/run') == ['epoch_3.pth'] and names(tmp_path / 'run') == []


def test_other_reactions_to_errors_are_refused():
    with raises(ValueError, 'on_error', 'ignore', 'stop', 'continue'):
        AtomicCheckpointHook(on_error='ignore')
