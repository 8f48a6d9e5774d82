"""Finds the largest batch of a recipe that fits into the memory of a GPU."""
import gc
from collections.abc import Callable
from copy import deepcopy
from itertools import takewhile
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, FUNCTIONS, MODELS

from mmvit_backbones.errors import UsageError

from ..utils.frameworks import quiet, use_framework

AUTO = 'auto'
USED = 0.9  # share of the memory that a step may use


def check_device() -> None:
    """Raises UsageError if there is no GPU, whose memory limits a batch."""
    if not torch.cuda.is_available():
        raise UsageError(f"batch_size (--batch-size) must be a number without a GPU, got 'auto' on {get_device()}; "
                         'pass --batch-size 2')


def largest_batch_size(config: Callable[[int], Config], limit: int) -> int:
    """Returns the largest power of two whose training step uses at most nine tenths of the GPU's memory, and prints it.

    Args:
        config (Callable): Returns the config for a number of images per step.
        limit (int): Number of training images per process.

    Raises:
        UsageError: If a single image does not fit.
    """
    number = largest_power(lambda images: step_memory(config(images), images), limit)
    print(f'batch size  {number} images per step fit into nine tenths of the memory of the GPU', flush=True)
    return number


def largest_power(step: Callable[[int], float], limit: int) -> int:
    """Returns the largest power of two up to a limit for which a step uses at most nine tenths of the memory.

    Args:
        step (Callable): Takes a step with a number of images, and returns the share of the memory that it used; raises
            ``torch.OutOfMemoryError`` if that does not suffice.
        limit (int): The limit.

    Raises:
        UsageError: If one image is too much.
    """
    def fits(number: int) -> bool:
        try:
            return step(number) <= USED
        except torch.cuda.OutOfMemoryError:  # torch.OutOfMemoryError, whose name is newer
            return False

    powers = (2**exponent for exponent in range(max(limit, 1).bit_length()))
    fitting = list(takewhile(fits, powers))
    if not fitting:
        raise UsageError('batch_size (--batch-size): a step with a single image does not fit into nine tenths of the '
                         "GPU's memory; lower size (--size)")
    return fitting[-1]


def step_memory(cfg: Config, images: int) -> float:
    """Returns the share of the GPU's memory that is used after a training step with images of the largest size."""
    device = torch.device('cuda', torch.cuda.current_device())
    try:
        torch.cuda.reset_peak_memory_stats(device)
        take_step(cfg, images, device)
        return torch.cuda.max_memory_reserved(device) / torch.cuda.mem_get_info(device)[1]
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def take_step(cfg: Config, images: int, device: torch.device) -> None:
    """Takes a training step with copies of the image that has the most objects, in the largest size of a training."""
    use_framework(cfg.default_scope)
    dataset = dict(cfg.train_dataloader.dataset, pipeline=[largest(step) for step in
                                                           cfg.train_dataloader.dataset.pipeline])
    with quiet():
        data: Any = DATASETS.build(dataset)
        counts = [len(data.get_data_info(i).get('instances', ())) for i in range(len(data))]
        sample = data[counts.index(max(counts))]
    preprocessor = dict(data_preprocessor=cfg.data_preprocessor) if cfg.get('data_preprocessor') else {}
    model: Any = MODELS.build({**preprocessor, **cfg.model}).to(device).train()
    collate: Any = FUNCTIONS.get('default_collate') if cfg.default_scope == 'mmpretrain' else pseudo_collate
    model.train_step(collate([deepcopy(sample) for _ in range(images)]), build_optim_wrapper(model, cfg.optim_wrapper))


def largest(step: dict) -> dict:
    """Returns a step of a pipeline; that which varies the size of whole images, for the largest in both sides."""
    if step['type'] != 'RandomChoiceResize':
        return step
    return dict(type='Resize', scale=max(step['scales'], key=min), keep_ratio=False)
