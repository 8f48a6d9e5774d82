"""Saves checkpoints atomically: an interrupted write leaves no partial checkpoint."""
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import copy
from pathlib import Path
from typing import Literal, Protocol

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..errors import TrainingError
from .finite import check_finite
from .work_dir import check_last_checkpoint

ON_ERROR = ('stop', 'continue')
CONTINUE = 'use default_hooks.checkpoint.on_error=continue to train without the checkpoint'
TEMPORARY = '.tmp'
STATE = re.compile('(best|last|keep)_')  # names of what MMEngine's hook stores about the saved checkpoints


class AtomicBackend(LocalBackend):
    """MMEngine's backend for local files, with atomic writes: syncs a temporary file to disk and then renames it."""

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        """Writes a file; if that fails, keeps the old file and raises OSError with the needed and the free space."""
        filepath = Path(filepath)
        filepath.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(f'{filepath}{TEMPORARY}')
        try:
            temporary.unlink(missing_ok=True)  # may be a leftover of a killed run, or a link
            with open(temporary, 'xb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, filepath)
            folder = os.open(filepath.parent, os.O_RDONLY)  # syncs the new name, too
            os.fsync(folder)
            os.close(folder)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            needed, free = (f'{size / 2**20:.1f} MiB' for size in (len(obj), shutil.disk_usage(filepath.parent).free))
            raise OSError(error.errno, f'{error.strerror} ({needed} needed, {free} free)', str(filepath)) from error


register_backend('atomic', AtomicBackend)


class RemovingBackend(Protocol):
    """A file backend that can remove files."""

    def remove(self, filepath: str) -> None:
        ...


class LateRemoval:
    """Wraps a file backend, and delays removals until :meth:`remove_outdated` is called."""

    def __init__(self, backend: RemovingBackend) -> None:
        self.backend = backend
        self.outdated: list[str] = []

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def remove(self, filepath: str) -> None:
        self.outdated.append(filepath)

    def remove_outdated(self) -> None:
        while self.outdated:
            self.backend.remove(self.outdated.pop())


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook`` with atomic writes.

    In a local folder, a checkpoint is written under a temporary name, synced and renamed, so a crash leaves no partial
    checkpoint. Old checkpoints are removed after the new checkpoint is complete. Weights with NaN or inf are not saved,
    so training can resume from the last checkpoint. Unless ``on_error`` is ``'continue'``, free disk space is checked
    before the first step.

    Args:
        on_error (str): ``'stop'`` ends training if a checkpoint cannot be written; ``'continue'`` skips the checkpoint.
            Defaults to ``'stop'``.
        **kwargs: Arguments of MMEngine's ``CheckpointHook``.

    Raises:
        ValueError: If ``on_error`` has another value.
        TrainingError: If the weights are not finite, or, with ``on_error='stop'``, if a checkpoint cannot be written or
            has no room on the disk.
        UsageError: If ``last_checkpoint``, from which the run would resume, is not a regular file in the run's folders.

    Example:
        >>> default_hooks = dict(checkpoint=dict(type='AtomicCheckpointHook', interval=1, max_keep_ckpts=3))
    """

    def __init__(self, *args, on_error: Literal['stop', 'continue'] = 'stop', **kwargs) -> None:
        if on_error not in ON_ERROR:
            raise ValueError(f'on_error must be one of {ON_ERROR}, got {on_error!r}')
        if '://' not in str(kwargs.get('out_dir')):
            kwargs.setdefault('backend_args', dict(backend='atomic'))
        super().__init__(*args, **kwargs)
        self.on_error = on_error

    def before_run(self, runner: Runner) -> None:
        check_last_checkpoint(runner)

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self.file_backend = LateRemoval(self.file_backend)
        folder = Path(self.out_dir)
        if is_main_process():
            for path in folder.glob(f'*.pth{TEMPORARY}'):  # leftovers of a killed run
                path.unlink()
        if self.on_error == 'stop' and '://' not in self.out_dir:
            existing = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
            needed, free = self._size(runner), shutil.disk_usage(existing).free
            if needed > free:
                raise TrainingError(f'{folder} has no room for a checkpoint: {needed / 2**20:.0f} MiB needed, '
                                    f'{free / 2**20:.0f} MiB free; {CONTINUE}')

    def _size(self, runner: Runner) -> int:
        """Estimates the size of a checkpoint in bytes; counts optimizer states only for Adam and its variants."""
        size = sum(value.nbytes for value in runner.model.state_dict().values())
        optimizer = (runner.cfg.get('optim_wrapper') or {}).get('optimizer') or {}
        if self.save_optimizer and 'Adam' in str(optimizer.get('type')):
            size += 2 * sum(weight.nbytes for weight in runner.model.parameters() if weight.requires_grad)
        return size

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        check_finite(runner, meta['iter'])
        with self._saving(runner):
            super()._save_checkpoint_with_step(runner, step, meta)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if self.save_best:
            check_finite(runner, runner.iter)
        with self._saving(runner):
            super()._save_best_checkpoint(runner, metrics)

    @contextmanager
    def _saving(self, runner: Runner) -> Iterator[None]:
        """Removes outdated checkpoints after a new checkpoint is saved; keeps them and the state if saving fails."""
        own = {name: copy(value) for name, value in vars(self).items() if STATE.match(name)}
        info = runner.message_hub.runtime_info
        saved = {name: copy(value) for name, value in info.items() if STATE.match(name)}
        try:
            yield
        except OSError as error:
            self.file_backend.outdated.clear()
            message = f'checkpoint cannot be written: {error}'
            if self.on_error == 'stop':
                raise TrainingError(f'{message}; older checkpoints are intact; {CONTINUE}') from error
            runner.logger.warning(f'{message}; training continues without it')
            vars(self).update(own)
            for name in [name for name in info if STATE.match(name)]:
                del info[name]
            info.update(saved)
            return
        try:
            self.file_backend.remove_outdated()
        except OSError as error:
            self.file_backend.outdated.clear()
            runner.logger.warning(f'an outdated checkpoint cannot be removed: {error}')
