"""Exact resuming of trainings."""
import numpy as np
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner

from ..data.reliable import ReliableDataset, ResumableBatchSampler, seed_all
from ..errors import TrainingError
from .rebuild import same_settings, settings_of, use_new_settings
from .work_dir import check_last_checkpoint

NEW_TRAINING = 'start a new training from the weights by load_from'


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Makes a resumed training equal the uninterrupted one, bitwise if the kernels are deterministic.

    MMEngine does not restore random states. This hook derives the model's from seed, process and iteration; the data's
    are those of :class:`ResumableBatchSampler` and :class:`ReliableDataset`, which ``train_dataloader`` must have.
    Mid-epoch checkpoints are supported.

    Settings of the optimizer and of the schedules, and frozen stages, may have changed since the checkpoint was
    written: the training goes on as if the schedules had been these from its start.

    Raises:
        TrainingError: If the data loader is another one. If the checkpoint is from a training with other classes,
            another number of images per step or of steps per epoch, to which epochs and schedules would not fit, or
            with another optimizer.
    """

    priority = 'LOWEST'
    settings = None

    def before_train(self, runner: Runner) -> None:
        loader = runner.train_dataloader
        if not isinstance(loader.batch_sampler, ResumableBatchSampler) or not hasattr(loader.dataset, 'max_skipped'):
            raise TrainingError(f'ExactResumeHook needs a train_dataloader with batch_sampler.type='
                                f'{ResumableBatchSampler.__name__!r} and dataset.type={ReliableDataset.__name__!r}')

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

    def before_run(self, runner: Runner) -> None:
        check_last_checkpoint(runner)
        if self.settings is None:
            self.settings = settings_of(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        batch_size = runner.train_dataloader.batch_sampler.batch_size
        checkpoint['meta'].update(world_size=get_world_size(), batch_size=batch_size,
                                  epoch_length=epoch_length(runner), settings=self.settings)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self.before_run(runner)  # which runners of strategies call later
        meta = checkpoint.get('meta', {})
        if not runner.cfg.get('resume') or 'world_size' not in meta:
            return
        check_classes(runner, meta)
        check_steps(runner, meta)
        if meta['settings'] and not same_settings(meta['settings'], self.settings):
            use_new_settings(runner, checkpoint, meta['settings'], self.settings)


def check_classes(runner: Runner, meta: dict) -> None:
    """Raises a TrainingError if a checkpoint is of other classes than the training data, or of another order."""
    described = meta.get('dataset_meta'), getattr(runner.train_dataloader.dataset, 'metainfo', None)
    before, now = ([str(name) for name in (metainfo or {}).get('classes') or ()] for metainfo in described)
    if before != now:
        raise TrainingError(f'the checkpoint is of the classes {", ".join(before)}, the training data have '
                            f'{", ".join(now)}. Take the same, in their order, or {NEW_TRAINING}')


def check_steps(runner: Runner, meta: dict) -> None:
    """Raises a TrainingError if a checkpoint is of other numbers of images per step, or of steps per epoch."""
    before = meta['world_size'], meta['batch_size']
    now = get_world_size(), runner.train_dataloader.batch_sampler.batch_size
    text = 'the checkpoint is of {} process(es) with batch size {}, this run has {} with {}'.format(*before, *now)
    if np.prod(before) != np.prod(now):
        raise TrainingError(f'{text}: epochs and schedules would not fit. Take the same number of images per step, or '
                            f'{NEW_TRAINING}')
    if before != now:
        runner.logger.warning(f'{text}: as many images per step, but other random numbers')
    before, now = (f'by epochs of {length} steps' if length else 'by iterations'
                   for length in (meta['epoch_length'], epoch_length(runner)))
    if before != now:
        raise TrainingError(f'the checkpoint is of a training {before}, this run is one {now}. Take as many images, '
                            f'and the same train_cfg, or {NEW_TRAINING}')


def epoch_length(runner: Runner) -> int | None:
    """Returns the number of steps per epoch, None for a training by iterations."""
    return len(runner.train_dataloader) if isinstance(runner.train_loop, EpochBasedTrainLoop) else None
