"""Signals during a training in the test's own process: the saved checkpoint, the exit code and the handlers."""
import multiprocessing
import os
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from helpers import raises
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from runs import assert_same_weights
from tiny_runs import Samples, loader_of, log_of, runner_of

from mmvit_backbones.errors import TrainingError
from mmvit_backbones.training import InterruptHook

pytestmark = pytest.mark.usefixtures('own_signals')


class Sender(Hook):
    """Sends a signal to this process before a training step, or before the first step of the validation."""

    def __init__(self, number: int, step: int | None) -> None:
        self.number, self.step, self.validated = number, step, 0

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.step:
            self.send()

    def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.validated += 1
        if self.step is None and batch_idx == 0:
            self.send()

    def send(self) -> None:
        assert signal.getsignal(self.number) not in (signal.SIG_DFL, signal.default_int_handler)
        signal.raise_signal(self.number)


class Nothing(BaseMetric):
    """Evaluates nothing."""

    def process(self, data_batch, data_samples) -> None:
        self.results.append(0)

    def compute_metrics(self, results) -> dict:
        return dict(samples=len(results))


VALIDATION = dict(val_dataloader=loader_of(), val_cfg=dict())


def interrupted(work_dir, number=signal.SIGTERM, step=None, **changes) -> Sender:
    """Trains until a signal, checks the exit code, and returns the hook that has sent the signal."""
    runner = runner_of(work_dir, **changes)
    sender = Sender(number, step)
    runner.register_hook(sender)
    with pytest.raises(SystemExit) as ended:
        runner.train()
    assert ended.value.code == 128 + number
    path = work_dir / 'interrupted.pth'
    assert (work_dir / 'last_checkpoint').read_text() == str(path)
    assert f'{number.name}: stopped after iteration' in log_of(work_dir) and str(path) in log_of(work_dir)
    return sender


def meta_of(work_dir) -> dict:
    return torch.load(work_dir / 'interrupted.pth', weights_only=False)['meta']


@pytest.mark.parametrize('number, step, accumulated, saved', [(signal.SIGTERM, 4, 1, 5), (signal.SIGINT, 4, 2, 6)])
def test_training_stops_after_a_step_of_the_optimizer(number, step, accumulated, saved, tmp_path):
    """A run resumed from there has the weights of an uninterrupted run."""
    changes = dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01), accumulative_counts=accumulated))
    handler = signal.getsignal(number)
    runner_of(tmp_path / 'whole', **changes).train()
    assert signal.getsignal(number) == handler
    interrupted(tmp_path / 'run', number, step, **changes)
    assert (meta_of(tmp_path / 'run')['epoch'], meta_of(tmp_path / 'run')['iter']) == (1, saved)
    runner_of(tmp_path / 'run', resume=True, **changes).train()
    assert_same_weights(tmp_path / 'whole/epoch_3.pth', tmp_path / 'run/epoch_3.pth')


@pytest.mark.parametrize('hooks, validated', [([], 1), ([dict(type='EMAHook')], 4)])
def test_validation_stops_at_once_unless_the_weights_are_averages(hooks, validated, tmp_path):
    sender = interrupted(tmp_path, custom_hooks=[dict(type='InterruptHook'), *hooks],
                         val_evaluator=Evaluator(Nothing()), **VALIDATION)
    assert sender.validated == validated
    assert (meta_of(tmp_path)['epoch'], meta_of(tmp_path)['iter']) == (1, 4)


def test_several_optimizers_stop_after_any_step(tmp_path):
    runner = runner_of(tmp_path)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = OptimWrapperDict(a=runner.build_optim_wrapper(runner.optim_wrapper))
    hook = InterruptHook()
    hook.after_train_iter(runner, 0)
    hook.receive(signal.SIGTERM, None)
    with pytest.raises(SystemExit):
        hook.after_train_iter(runner, 0)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    runner = runner_of(tmp_path)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    torch.nn.init.constant_(runner.model.linear.bias, torch.nan)
    with raises(TrainingError, 'not saved', 'linear.bias'):
        InterruptHook().stop(runner, signal.SIGTERM, 1)
    assert not list(tmp_path.glob('*.pth*'))


def test_training_in_a_thread_leaves_the_handlers(tmp_path):
    handler = signal.getsignal(signal.SIGTERM)
    runner = runner_of(tmp_path, train_cfg=dict(by_epoch=True, max_epochs=1))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(runner.train).result()
    assert signal.getsignal(signal.SIGTERM) == handler


@pytest.mark.parametrize('seconds, ends', [(4.5, False), (5.2, True)])
def test_second_signal_is_left_to_the_system_after_five_seconds(seconds, ends):
    """Launchers repeat signals. The system ignores SIGURG, so this process survives."""
    hook, number = InterruptHook(), signal.SIGURG
    signal.signal(number, hook.receive)
    hook.receive(number, None)
    hook.receive(number, None)
    hook.received_at -= seconds
    hook.receive(number, None)
    assert (signal.getsignal(number) == signal.SIG_DFL) == ends and hook.received == number


class InWorker(Samples):
    """Samples with the state of the worker that reads them."""

    def __getitem__(self, index: int) -> dict:
        waits = any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())
        is_ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        return dict(x=[os.getpid(), os.environ.get('STARTED'), is_ignored, waits])


def note_start(worker_id: int) -> None:
    os.environ['STARTED'] = str(worker_id)


def test_workers_end_only_with_the_training(tmp_path):
    """A worker ignores SIGINT, and SIGTERM of other processes, so that the training can save a checkpoint."""
    loader = loader_of(InWorker(100), batch_size=1, num_workers=1)
    runner = runner_of(tmp_path, train_dataloader=loader, val_evaluator=Evaluator(Nothing()),
                       **{**VALIDATION, 'val_dataloader': loader})
    loaders = [loop.dataloader for loop in (runner.train_loop, runner.val_loop)]
    for each in loaders:
        each.worker_init_fn = note_start
    InterruptHook().before_train(runner)
    for each in loaders:
        batches = iter(each)
        [pid], [started], [is_ignored], [waits] = next(batches)['x']
        assert started == '0' and is_ignored and not waits  # for a thread when it ends
        subprocess.run(['kill', '-TERM', str(pid)], check=True)
        assert len(list(batches)) == 99
        batches = iter(each)
        [pid], *_ = next(batches)['x']
        worker, = (process for process in multiprocessing.active_children() if process.pid == pid)
        os.kill(pid, signal.SIGTERM)
        worker.join(30)
        assert worker.exitcode == 0
