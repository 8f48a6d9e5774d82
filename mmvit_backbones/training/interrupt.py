"""Saves a checkpoint on SIGTERM, which Slurm sends to preempt a job, and on SIGINT."""
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from mmengine.dist import all_reduce, barrier, get_world_size, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..utils.files import open_output
from .finite import check_finite

# Signals within this time count as one signal: launchers forward a signal that the terminal has already sent to all
# processes, and Slurm repeats its signals.
SAME_SIGNAL_SECONDS = 5.


@HOOKS.register_module()
class InterruptHook(Hook):
    """On SIGTERM or SIGINT, saves ``interrupted.pth`` after the current step, and exits with code 143 or 130.

    All processes stop after the same step, even if only one process receives the signal. The file contains the whole
    training state; with :class:`ExactResumeHook`, a resumed run continues with the next step. A second signal after
    more than five seconds ends the process immediately.

    Raises:
        SystemExit: After the checkpoint is saved.
        TrainingError: If the weights are not finite; no checkpoint is saved then.
    """

    priority = 'LOWEST'
    filename = 'interrupted.pth'
    received_at: float  # set by receive

    def __init__(self) -> None:
        self.received = 0

    def before_train(self, runner: Runner) -> None:
        if threading.current_thread() is threading.main_thread():
            self.previous = {number: signal.signal(number, self.receive) for number in (signal.SIGTERM, signal.SIGINT)}
        for loop in (runner.train_loop, runner.val_loop):
            if loop is not None:
                loop.dataloader.worker_init_fn = partial(_start_worker, loop.dataloader.worker_init_fn)

    def after_train(self, runner: Runner) -> None:
        for number, handler in getattr(self, 'previous', {}).items():
            signal.signal(number, handler)

    def receive(self, number: int, frame) -> None:
        if self.received and time.monotonic() - self.received_at > SAME_SIGNAL_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif not self.received:
            self.received, self.received_at = number, time.monotonic()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        number = self.agree()
        # Checkpoints do not contain accumulated gradients.
        if number and not (runner.iter + 1) % getattr(runner.optim_wrapper, '_accumulative_counts', 1):
            self.stop(runner, number, runner.iter + 1)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        # Validation must finish if processes may have different numbers of steps, or EMAHook has replaced the weights.
        has_average = any(isinstance(hook, EMAHook) for hook in runner.hooks)
        if self.received and get_world_size() == 1 and not has_average:
            self.stop(runner, self.received, runner.iter)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        if number := self.agree():
            self.stop(runner, number, runner.iter)

    def agree(self) -> int:
        """Returns the signal that any process has received, or 0."""
        number = torch.tensor(self.received)
        all_reduce(number, 'max')
        return int(number)

    def stop(self, runner: Runner, number: int, iteration: int) -> None:
        check_finite(runner, iteration)
        path = Path(runner.work_dir, self.filename)
        runner.save_checkpoint(runner.work_dir, self.filename, meta=dict(epoch=runner.epoch, iter=iteration),
                               by_epoch=False, backend_args=dict(backend='atomic'))
        if is_main_process():
            with open_output(path.with_name('last_checkpoint'), 'w') as file:  # MMEngine reads this file to resume
                file.write(str(path))
        runner.logger.warning(f'{signal.Signals(number).name}: stopped after iteration {iteration}; '
                              f'resume from {path}')
        barrier()  # the launcher kills all processes when one process exits
        raise SystemExit(128 + number)


def _end_with_parent() -> None:
    """Ends a worker on SIGTERM from its parent; ignores SIGTERM from other senders, so that training can save first."""
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)


def _start_worker(init_fn: Callable | None, worker_id: int) -> None:
    sys.excepthook = lambda *error: None  # keeps workers silent when training ends; errors in samples are still raised
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, 'sigwaitinfo'):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_with_parent, daemon=True).start()
    if init_fn is not None:
        init_fn(worker_id)
