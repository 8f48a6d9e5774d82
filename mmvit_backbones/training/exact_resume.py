"""Exact resuming of trainings."""
import copy
import random
from itertools import islice

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import Dataset, get_worker_info

from ..errors import TrainingError


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Makes a resumed training equal the uninterrupted one, bitwise if the kernels are deterministic.

    MMEngine does not restore random states. This hook derives them from seed, rank and iteration, for the model and the
    data, with any number of workers, which are restarted in each epoch, regardless of ``persistent_workers``.
    Mid-epoch checkpoints are supported.

    Raises:
        TrainingError: If the checkpoint is from a training with another number of images per step: epochs and schedules
            would not fit.
    """

    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        self.loader = runner.train_dataloader
        self.batches = SeededBatches(self.loader.dataset, runner.seed)
        # Where torch's loader looks before it takes sample by sample.
        self.loader.dataset.__getitems__ = self.batches
        # Workers that outlive an epoch would not hear of its first step. Set past the loader, which refuses.
        self.loader.__dict__.update(persistent_workers=False, _iterator=None)

    def before_train_epoch(self, runner: Runner) -> None:
        loop = runner.train_loop
        self.batches.iteration = runner.iter
        if isinstance(loop, EpochBasedTrainLoop):
            done = runner.iter - runner.epoch * len(self.loader)
            if 0 < done <= len(self.loader):
                loop.dataloader = copy.copy(self.loader)
                # Set past the loader, too.
                loop.dataloader.__dict__['batch_sampler'] = list(islice(self.loader.batch_sampler, done, None))
            return
        batches = loop.dataloader_iterator
        if getattr(batches, '_iterator', None) is not None:
            loop.dataloader_iterator = type(batches)(self.loader)  # older mmengine has made workers already
        samplers = (self.loader.sampler, getattr(self.loader.batch_sampler, 'sampler', None))
        can_skip = any(hasattr(sampler, 'skip') for sampler in samplers)
        if not can_skip and (self.loader.num_workers or not hasattr(batches, 'skip_iter')):
            self.batches.iteration = 0  # mmengine loads all it skips

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        self.batches.iteration = runner.iter + 1
        _seed(runner.seed, get_rank(), runner.iter, 'model')

    def after_train_epoch(self, runner: Runner) -> None:
        runner.train_loop.dataloader = self.loader

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        loader = getattr(self, 'loader', runner.train_dataloader)  # the rest of an epoch has no batch size
        checkpoint['meta'].update(world_size=get_world_size(), batch_size=loader.batch_sampler.batch_size)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        meta = checkpoint.get('meta', {})
        if not runner.cfg.get('resume') or 'world_size' not in meta:
            return
        before = meta['world_size'], meta['batch_size']
        now = get_world_size(), runner.train_dataloader.batch_sampler.batch_size
        text = 'the checkpoint is of {} process(es) with batch size {}, this run has {} with {}'.format(*before, *now)
        if np.prod(before) != np.prod(now):
            raise TrainingError(f'{text}: epochs and schedules would not fit. Take the same number of images per step, '
                                'or start a new training from the weights by load_from')
        if before != now:
            runner.logger.warning(f'{text}: as many images per step, but other random numbers')


class SeededBatches:
    """Reads batches of a data set, with random states derived from the ``iteration``."""

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed
        self.iteration = 0  # of the next batch in the main process, or of a new loader's first
        self.read = getattr(dataset, '__getitems__', None)  # of BadDataHook
        self.rank = get_rank()  # unknown in a worker

    def __call__(self, indices: list[int]) -> list:
        worker = get_worker_info()
        offset, step = (worker.id, worker.num_workers) if worker else (0, 1)  # workers take turns
        _seed(self.seed, self.rank, self.iteration + offset, 'data')
        self.iteration += step
        return self.read(indices) if self.read else [self.dataset[index] for index in indices]


def _seed(seed: int, rank: int, iteration: int, what: str) -> None:
    state = int(np.random.SeedSequence((seed, rank, iteration, what == 'data')).generate_state(1)[0])
    random.seed(state)
    np.random.seed(state)
    torch.manual_seed(state)
