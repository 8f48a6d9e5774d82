"""Says in one line what PyTorch raises: that memory is full, a dtype has no kernel, or a worker has ended."""
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmvit_backbones.errors import TrainingError
from mmvit_backbones.utils.installation import describe_operators
from mmvit_backbones.zoo.reading import LAST, last_of

from ..utils.shell import short_path

WORKER = re.compile(r'DataLoader worker \(pid\S* [\d, ]+\) (?:is killed by signal: (?P<signal>[^.]+)|exited)')
SHARED_MEMORY = re.compile(r'unable to (?:allocate shared memory|write to file|mmap)[^\n]*</torch_')
FULL_MEMORY = re.compile(r'out of memory|DefaultCPUAllocator')
ASKED = re.compile(r'tried to allocate ([\d.]+ \w+)', re.I)
LESS_MEMORY = ('; smaller batches (--batch-size, or train_dataloader.batch_size in a config) and images (--size), '
               'bfloat16 (--bf16), with_cp=True (--cfg-options model.backbone.with_cp=True) and compiled blocks '
               '(--compile) need less')
NO_OPERATOR = re.compile(r'_impl: implementation for device \S+ not found|not compiled with GPU support|mmcv\._ext\.')
NO_KERNEL = re.compile(r"not implemented for '(BFloat16|Half)'")


@contextmanager
def pytorch_errors_named(*splits: str, work_dir: str | None = None) -> Iterator[None]:
    """Replaces PyTorch's exceptions for full memory, missing kernels, and the end of a worker, by one line.

    Args:
        splits (str): Splits whose loaders a config sets, of 'train', 'val' and 'test'. Defaults to none.
        work_dir (str | None): Work dir of a training, which goes on from its last checkpoint. Defaults to None.

    Raises:
        TrainingError: If memory is full, an operator has no kernel for the dtype, or a worker was killed or got no
            shared memory.
    """
    try:
        yield
    except RuntimeError as error:
        problem = _problem_of(error)
        if problem is None:
            raise
        options = ' '.join(f'{split}_dataloader.num_workers=0' for split in splits)
        if splits and 'workers' in problem:
            problem += f' (--cfg-options {options})'
        if work_dir:
            last = Path(work_dir, LAST)
            problem += LESS_MEMORY if FULL_MEMORY.search(str(error)) else ''
            problem += (f'; resuming (--resume) goes on from {short_path(last_of(last))}' if last.is_file() else
                        '; no checkpoint was saved')
        raise TrainingError(problem) from error


def _problem_of(error: RuntimeError) -> str | None:
    """Returns what has happened and what helps; None for other errors."""
    if FULL_MEMORY.search(str(error)):
        asked = ASKED.search(str(error))
        device = '' if 'CPU' in str(error) else ' of the GPU'
        return f'the memory{device} is full' + (f', and {asked[1]} more were asked for' if asked else '')
    if found := NO_KERNEL.search(str(error)):  # such as FocalLoss, the loss of RetinaNet and DINO, in bfloat16
        return f'{str(error).splitlines()[0]}; use {"float16" if found[1] == "BFloat16" else "bfloat16"} or float32'
    if NO_OPERATOR.search(str(error)):  # of mmcv, compiled without the device, or in Python
        return f'{str(error).splitlines()[0]}; operators of mmcv: {describe_operators()[0]}'
    workers = [found for each in _chain(error) if (found := WORKER.match(str(each)))]
    signals = [found['signal'].strip() for found in workers if found['signal']]
    if SHARED_MEMORY.search(str(error)) or 'Bus error' in signals:
        return ('shared memory is full, through which workers of the data loader send images: give the container more '
                '(docker run --shm-size=8g), or use fewer workers')
    if 'Killed' in signals:
        return ('a worker of the data loader was killed, most often because memory is full: use fewer workers, smaller '
                'batches or smaller images')
    if workers:
        outcome = f'was ended by the signal {signals[0]!r}' if signals else 'ended without an exception'
        return f'a worker of the data loader {outcome}; to see why, run without workers'
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an exception and its causes; the first may only say that a worker has ended."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
