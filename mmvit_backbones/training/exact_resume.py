"""Exact resuming of trainings."""
import numpy as np
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner

from ..data.reliable import ReliableDataset, ResumableBatchSampler, seed_all
from ..errors import TrainingError


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Makes a resumed training equal the uninterrupted one, bitwise if the kernels are deterministic.

    MMEngine does not restore random states. This hook derives the model's from seed, process and iteration; the data's
    are those of :class:`ResumableBatchSampler` and :class:`ReliableDataset`, which ``train_dataloader`` must have.
    Mid-epoch checkpoints are supported.

    Raises:
        TrainingError: If the data loader is another one, or if the checkpoint is from a training with another number of
            images per step: epochs and schedules would not fit.
    """

    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        loader = runner.train_dataloader
        if not isinstance(loader.batch_sampler, ResumableBatchSampler) or not hasattr(loader.dataset, 'max_skipped'):
            raise TrainingError(f'ExactResumeHook needs a train_dataloader with batch_sampler.type='
                                f'{ResumableBatchSampler.__name__!r} and dataset.type={ReliableDataset.__name__!r}; '
                                'tools/train.py sets both')

    def before_train_epoch(self, runner: Runner) -> None:
        batches, loop = runner.train_dataloader.batch_sampler, runner.train_loop
        if isinstance(loop, EpochBasedTrainLoop):
            batches.start = runner.iter - runner.epoch * len(batches)
        elif hasattr(loop, 'fast_forward_on_resume') and isinstance(batches.sampler, InfiniteSampler):
            # Otherwise, mmengine loads and discards all batches before.
            loop.fast_forward_on_resume, batches.start = True, runner.iter

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        seed_all(runner.seed, get_rank(), runner.iter)

    def after_train_epoch(self, runner: Runner) -> None:
        runner.train_dataloader.batch_sampler.start = 0

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        batch_size = runner.train_dataloader.batch_sampler.batch_size
        checkpoint['meta'].update(world_size=get_world_size(), batch_size=batch_size)

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
