"""Finds the largest batch of a recipe that fits into the memory of a GPU."""
import gc
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from multiprocessing import get_context
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import DATASETS, FUNCTIONS
from mmengine.utils import import_modules_from_strings
from torch import distributed

from mmvit_backbones.errors import UsageError

from ..running.one_step import OneStep
from ..utils.frameworks import build_model, quiet, use_framework

USED = 0.9  # share of the memory that a step may use


def check_device() -> None:
    """Raises UsageError if there is no GPU, whose memory limits a batch."""
    if not torch.cuda.is_available():
        raise UsageError(f"batch_size (--batch-size) must be a number without a GPU, got 'auto' on {get_device()}; "
                         'pass --batch-size 2')


def find_largest_batch(recipe: Config, limit: int, processes: int = 1) -> int:
    """Returns the largest power of two whose training fits into nine tenths of the GPU's memory, and prints it.

    A process of its own takes the steps, so that this one allocates nothing on the GPU.

    Args:
        recipe (Config): The recipe, for any batch size.
        limit (int): Number of training images per process.
        processes (int): Number of training processes. Defaults to 1.

    Raises:
        UsageError: If a single image does not fit.
    """
    with ProcessPoolExecutor(1, get_context('spawn')) as own_process:
        number = own_process.submit(find_largest_that_fits, recipe, limit, processes).result()
    print(f'batch size  {number} images per step fit into nine tenths of the memory of the GPU', flush=True)
    return number


def find_largest_that_fits(recipe: Config, limit: int, processes: int = 1) -> int:
    """Returns the number of :func:`find_largest_batch`, from steps in this process."""
    device = torch.device(get_device())
    import_modules_from_strings(**recipe.custom_imports)
    fitting = 0
    with connect_alone(device) if processes > 1 else nullcontext():
        for exponent in range(max(limit, 1).bit_length()):
            if not fits(recipe, 2**exponent, device):
                break
            fitting = 2**exponent
    if not fitting:
        raise UsageError('batch_size (--batch-size): a step with a single image does not fit into nine tenths of the '
                         "GPU's memory; lower size (--size)")
    return fitting


@contextmanager
def connect_alone(device: torch.device) -> Iterator[None]:
    """Connects this process with itself, so that a model has the buffers of training in several processes."""
    store = distributed.HashStore()  # pyright: ignore[reportPrivateImportUsage]  # documented there
    distributed.init_process_group('nccl' if device.type == 'cuda' else 'gloo', store=store, rank=0, world_size=1)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def fits(cfg: Config, images: int, device: torch.device) -> bool:
    """Returns whether a training with images of the largest size uses at most nine tenths of the GPU's memory."""
    is_gpu = device.type == 'cuda'
    try:
        if is_gpu:
            torch.cuda.reset_peak_memory_stats(device)
        take_steps(cfg, images, device)
        return not is_gpu or torch.cuda.max_memory_reserved(device) <= USED * torch.cuda.mem_get_info(device)[1]
    except torch.cuda.OutOfMemoryError:  # torch.OutOfMemoryError, whose name is newer
        return False
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def take_steps(cfg: Config, images: int, device: torch.device) -> None:
    """Updates the weights twice, with copies of the image that has the most objects, in the largest size of a training.

    There is all that a training has in memory: accumulated gradients, averaged weights, the buffers of several
    processes, and the optimizer's state in the second update.
    """
    use_framework(cfg.default_scope)
    dataset = dict(cfg.train_dataloader.dataset, pipeline=[enlarge(step) for step in
                                                           cfg.train_dataloader.dataset.pipeline])
    with quiet():
        data: Any = DATASETS.build(dataset)
        counts = [len(data.get_data_info(i).get('instances', ())) for i in range(len(data))]
        sample = data[counts.index(max(counts))]
    training = OneStep(build_model(cfg), cfg.optim_wrapper, device)
    averages = [deepcopy(training.model) for hook in cfg.custom_hooks if hook.type == 'EMAHook']
    if distributed.is_initialized():
        training.model = MMDistributedDataParallel(training.model, broadcast_buffers=False)
    collate: Any = FUNCTIONS.get('default_collate') if cfg.default_scope == 'mmpretrain' else pseudo_collate
    training.update_twice(collate([deepcopy(sample) for _ in range(images)]))
    del averages


def enlarge(step: dict) -> dict:
    """Returns a step of a pipeline; that which varies the size of whole images, for the largest in both sides."""
    if step['type'] != 'RandomChoiceResize':
        return step
    return dict(type='Resize', scale=max(step['scales'], key=min), keep_ratio=False)
