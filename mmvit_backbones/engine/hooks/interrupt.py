"""Saves a checkpoint on SIGTERM, which Slurm sends to preempt a job, on SIGINT, and on SIGHUP of a lost terminal."""
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
from mmengine.dist import all_reduce, barrier, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...zoo.reading import LAST

SIGNALS = [getattr(signal, name) for name in ('SIGTERM', 'SIGINT', 'SIGHUP') if hasattr(signal, name)]


@HOOKS.register_module()
class InterruptHook(Hook):
    """On SIGTERM, SIGINT or SIGHUP, saves ``interrupted.pth`` after the current step, and exits with 128 + the signal.

    All processes stop after the same step, even if only one process receives the signal. During an evaluation, the
    signal takes effect afterwards; a second SIGINT (Ctrl-C) ends the process at once, and saves nothing. A SIGHUP that
    is ignored, as by ``nohup``, stays so. The file contains the whole training state; with :class:`ExactResumeHook`, a
    resumed run continues with the next step.

    The handlers of before are restored when training ends, or is stopped by a signal. MMEngine calls no hook after an
    exception, so a program that goes on after one must call :meth:`restore`, as ``mmvit.train`` does.

    Raises:
        SystemExit: After the checkpoint is saved.
        KeyboardInterrupt: At the second SIGINT.
    """

    priority = 'LOWEST'
    filename = 'interrupted.pth'

    def __init__(self) -> None:
        self.received = 0
        self.previous: dict[int, Any] = {}  # handlers by signal

    def before_train(self, runner: Runner) -> None:
        if threading.current_thread() is threading.main_thread():
            self.previous = {number: signal.signal(number, self.receive) or signal.SIG_DFL for number in SIGNALS
                             if number in SIGNALS[:2] or signal.getsignal(number) != signal.SIG_IGN}
        for loop in (runner.train_loop, runner.val_loop):
            if loop is not None:
                loop.dataloader.worker_init_fn = partial(_start_worker, loop.dataloader.worker_init_fn)

    def after_train(self, runner: Runner) -> None:
        self.restore()

    def restore(self) -> None:
        """Restores the handlers that were there before training, if this has not been done."""
        while self.previous:
            signal.signal(*self.previous.popitem())

    def receive(self, number: int, frame) -> None:
        # Schedulers may send the others twice; torchrun sends SIGINT and SIGTERM for the first and the second Ctrl-C.
        if self.received and signal.SIGINT in (self.received, number):
            self.give_up()
        self.received = self.received or number

    def give_up(self) -> NoReturn:
        """Ends what does not come to the end of a step, such as a data loader that hangs or a long evaluation."""
        self.restore()
        if hasattr(signal, 'sigwaitinfo'):  # else, PyTorch would report workers that were killed
            for process in multiprocessing.active_children():
                process.terminate()  # PyTorch would wait 5 seconds for each
        raise KeyboardInterrupt

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        received = largest(self.received)
        # Checkpoints do not contain accumulated gradients.
        if received and not (runner.iter + 1) % getattr(runner.optim_wrapper, '_accumulative_counts', 1):
            self.stop(runner, received)

    def stop(self, runner: Runner, number: int) -> None:
        path = Path(runner.work_dir, self.filename)
        runner.save_checkpoint(runner.work_dir, self.filename, meta=dict(epoch=runner.epoch, iter=runner.iter + 1),
                               by_epoch=False, backend_args=dict(backend='atomic'))
        if is_main_process():
            path.with_name(LAST).write_text(str(path), encoding='utf-8')  # MMEngine reads this file to resume
        runner.logger.warning(f'{signal.Signals(number).name}: stopped after iteration {runner.iter + 1}; '
                              f'resume from {path}')
        barrier()  # the launcher kills all processes when one process exits
        self.restore()
        raise SystemExit(128 + number)


def largest(number: int) -> int:
    """Returns the largest of the numbers of all processes."""
    if get_world_size() == 1:
        return number
    together = torch.tensor(int(number))
    all_reduce(together, 'max')
    return int(together)


def _end_with_parent() -> None:
    """Ends a worker on SIGTERM from its parent; ignores SIGTERM from other senders, so that training can save first."""
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)


def _start_worker(init_fn: Callable | None, worker_id: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, 'sigwaitinfo'):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_with_parent, daemon=True).start()
    if init_fn is not None:
        init_fn(worker_id)
