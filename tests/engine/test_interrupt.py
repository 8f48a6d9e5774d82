"""Signals during a training in the test's own process: the saved checkpoint, the exit code and the handlers."""
import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.registry import DATASETS
from runs import assert_same_weights, in_own_process
from tiny_runs import Samples, Sender, loader_of, log_of, runner_of

from mmvit_backbones.engine import InterruptHook
from mmvit_backbones.engine.hooks.interrupt import SIGNALS


def interrupted(work_dir, number, step, **changes) -> None:
    """Trains until a signal, and checks the exit code."""
    runner = runner_of(work_dir, **changes)
    runner.register_hook(Sender(number, step))
    with pytest.raises(SystemExit) as ended:
        runner.train()
    assert ended.value.code == 128 + number
    path = work_dir / 'interrupted.pth'
    assert (work_dir / 'last_checkpoint').read_text() == str(path)
    assert f'{number.name}: stopped after iteration' in log_of(work_dir) and str(path) in log_of(work_dir)


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


def test_several_optimizers_stop_after_any_step(tmp_path):
    runner = runner_of(tmp_path)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = OptimWrapperDict(a=runner.build_optim_wrapper(runner.optim_wrapper))
    hook = InterruptHook()
    hook.after_train_iter(runner, 0)
    hook.receive(signal.SIGTERM, None)
    with pytest.raises(SystemExit):
        hook.after_train_iter(runner, 0)


class Fault(Hook):

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        raise ValueError


def test_the_handlers_are_restored_after_an_exception(tmp_path):
    handlers = [signal.getsignal(number) for number in SIGNALS]
    runner = runner_of(tmp_path)
    runner.register_hook(Fault())
    with pytest.raises(ValueError):
        runner.train()
    assert [signal.getsignal(number) for number in SIGNALS] == handlers


def test_training_in_a_thread_leaves_the_handlers(tmp_path):
    handler = signal.getsignal(signal.SIGTERM)
    runner = runner_of(tmp_path, train_cfg=dict(by_epoch=True, max_epochs=1))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(runner.train).result()
    assert signal.getsignal(signal.SIGTERM) == handler


@DATASETS.register_module()
class InWorker(Samples):
    """Samples with the process that reads them."""

    def __getitem__(self, index: int) -> dict:
        return dict(x=[os.getpid(), os.environ.get('STARTED')])


def note_start(worker_id: int) -> None:
    os.environ['STARTED'] = str(worker_id)


def test_workers_ignore_signals(tmp_path):
    """Libraries that other tests have loaded may have threads in a worker, which get the signal."""
    in_own_process(check_workers, tmp_path)


def check_workers(tmp_path):
    """Slurm signals all processes of a job, but the training must first save a checkpoint."""
    runner = runner_of(tmp_path, train_dataloader={
        **loader_of(1, num_workers=1), 'dataset': dict(type='InWorker', length=100), 'persistent_workers': False})
    loader = runner.train_loop.dataloader
    loader.worker_init_fn = note_start
    InterruptHook().before_train(runner)
    batches = iter(loader)
    [pid], [started] = next(batches)['x']
    assert started == '0'
    for number in signal.SIGTERM, signal.SIGINT:
        subprocess.run([sys.executable, '-c', f'import os; os.kill({pid}, {number})'], check=True)
    assert len(list(batches)) == 99
    batches = iter(loader)
    [pid], _ = next(batches)['x']
    worker, = (process for process in multiprocessing.active_children() if process.pid == pid)
    os.kill(pid, signal.SIGTERM)  # from its parent, at exit
    worker.join(30)
    assert worker.exitcode == 0
