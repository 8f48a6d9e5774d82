"""Resumes training exactly as if it had not been interrupted."""
import warnings
from typing import Any

import numpy as np
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict, ReduceOnPlateauParamScheduler
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from ...datasets.resumable import SeededDataset, seed_all
from ...errors import TrainingError
from ...utils.classes import classes_of

NEW_TRAINING = 'start a new run from the weights with load_from'


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Makes a resumed run equal to an uninterrupted run, bitwise if the kernels are deterministic.

    MMEngine restores neither random states nor the position within an epoch. Before training, this hook replaces the
    train loader by one that yields the same batches, can start at any batch, and seeds the random state before it reads
    a sample. Before each step, it seeds the random state with the seed of the run, the rank and the step. Checkpoints
    may be from the middle of an epoch.

    The settings of the optimizer and the schedulers are those of the config, as if they had been used from the start.

    Raises:
        TrainingError: If the runner was not built from a config; or if the checkpoint was written with different
            classes, a different number of images per step or of steps per epoch, or a different optimizer.

    Example:
        >>> custom_hooks = [dict(type='ExactResumeHook')]
    """

    priority = 'VERY_HIGH'  # other hooks must see the new train loader

    def before_train(self, runner: Runner) -> None:
        loop: Any = runner.train_loop
        loop.dataloader = resumable_loader(runner)

    def before_train_epoch(self, runner: Runner) -> None:
        loop: Any = runner.train_loop
        batches = loop.dataloader.batch_sampler
        if isinstance(loop, EpochBasedTrainLoop):
            batches.start = runner.iter - runner.epoch * len(batches)
        elif (isinstance(loop, IterBasedTrainLoop) and hasattr(loop, 'fast_forward_on_resume')
              and isinstance(batches.sampler, InfiniteSampler)):
            # Otherwise, MMEngine loads and discards all previous batches.
            loop.fast_forward_on_resume = True
            batches.start = runner.iter
        if isinstance(loop, IterBasedTrainLoop):
            # Older versions of MMEngine start the workers here, so the loader must be complete.
            loop.dataloader_iterator = type(loop.dataloader_iterator)(loop.dataloader)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        seed_all(runner.seed, get_rank(), runner.iter)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint['meta'].update(
            world_size=get_world_size(), batch_size=batch_size_of(runner), epoch_length=epoch_length(runner),
            optimizers=optimizers_of(runner))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        meta = checkpoint.get('meta', {})
        if not runner._resume or 'world_size' not in meta:
            return
        check_resumed(runner.train_dataloader.dataset, meta)
        check_steps(runner, meta)
        use_settings(runner, checkpoint)


def resumable_loader(runner: Runner) -> DataLoader:
    """Returns a train loader with the data set and the batches of the runner's, which can start at any batch."""
    config, loader = dict(runner.cfg.get('train_dataloader') or {}), runner.train_dataloader
    if not config:
        raise TrainingError('ExactResumeHook needs a runner that was built from a config with a train_dataloader')
    config.update(dataset=SeededDataset(loader.dataset), batch_sampler=dict(
        type='ResumableBatchSampler', batch_sampler=config.get('batch_sampler'),
        drop_last=config.pop('drop_last', False)))
    different = (runner.cfg.get('randomness') or {}).get('diff_rank_seed', False)
    return runner.build_dataloader(config, seed=runner.seed, diff_rank_seed=different)


def batch_size_of(runner: Runner) -> int:
    """Returns the batch size per process; ``DataLoader.batch_size`` is None with a batch sampler."""
    loader: Any = runner.train_dataloader
    return loader.batch_sampler.batch_size


def optimizers_of(runner: Runner) -> list[str]:
    """Returns the names of the optimizers' classes."""
    wrapper: Any = runner.optim_wrapper
    wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return [type(each.optimizer).__name__ for each in wrappers]


def check_steps(runner: Runner, meta: dict) -> None:
    """Raises TrainingError if a checkpoint and this run differ in images per step or steps per epoch."""
    before = meta['world_size'], meta['batch_size']
    now = get_world_size(), batch_size_of(runner)
    text = ('the checkpoint was written with {} process(es) and batch size {}, but this run has {} process(es) and '
            'batch size {}').format(*before, *now)
    if np.prod(before) != np.prod(now):
        raise TrainingError(f'{text}: epochs and schedules would not match. Use the same number of images per step, or '
                            f'{NEW_TRAINING}')
    if before != now:
        runner.logger.warning(f'{text}: the number of images per step is the same, but the random numbers differ')
    length_before, length = (f'epochs of {steps} steps' if steps else 'iterations without epochs'
                             for steps in (meta['epoch_length'], epoch_length(runner)))
    if length_before != length:
        raise TrainingError(f'the checkpoint is from a run with {length_before}, but this run has {length}. Use the '
                            f'same number of images and the same train_cfg, or {NEW_TRAINING}')


def epoch_length(runner: Runner) -> int | None:
    """Returns the number of steps per epoch, or None for iteration-based training."""
    return len(runner.train_dataloader) if isinstance(runner.train_loop, EpochBasedTrainLoop) else None


def use_settings(runner: Runner, checkpoint: dict) -> None:
    """Replaces the settings of the optimizer and the schedulers in a checkpoint by those of the config.

    MMEngine would restore the settings together with the states, so a new learning rate or schedule would have no
    effect. Several optimizers, and schedules that depend on a metric, keep the settings of the checkpoint.

    Raises:
        TrainingError: If the checkpoint has an optimizer of another class, or for other parameters.
    """
    before, now = checkpoint['meta']['optimizers'], optimizers_of(runner)
    if before != now:
        raise TrainingError(f'the checkpoint has the optimizer {", ".join(before)}, but the config has '
                            f'{", ".join(now)}; use the same optimizer, or {NEW_TRAINING}')
    wrapper: Any = runner.optim_wrapper
    schedules: Any = runner.param_schedulers or []  # None without schedules
    if isinstance(wrapper, OptimWrapperDict) or any(
            isinstance(schedule, ReduceOnPlateauParamScheduler) for schedule in schedules):
        return
    sizes = [[len(group['params']) for group in groups]
             for groups in (checkpoint['optimizer']['param_groups'], wrapper.optimizer.param_groups)]
    if sizes[0] != sizes[1]:
        raise TrainingError(f'the checkpoint has an optimizer of {sum(sizes[0])} parameters in {len(sizes[0])} groups, '
                            f'but the config has {sum(sizes[1])} parameters in {len(sizes[1])} groups, e.g. because of '
                            f'frozen stages; use the same settings, or {NEW_TRAINING}')
    _advance(schedules, checkpoint['meta'], epoch_length(runner))
    settings = wrapper.optimizer.state_dict()['param_groups']
    checkpoint['optimizer'] = {**checkpoint['optimizer'], 'param_groups': settings}
    checkpoint['param_schedulers'] = [schedule.state_dict() for schedule in schedules]


def _advance(schedules: list, meta: dict, epoch_length: int | None) -> None:
    """Advances schedulers to the step of a checkpoint; at the end of an epoch, those by epoch come last."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Detected call of `scheduler.step', UserWarning)
        for step in range(1, meta['iter'] + 1):
            ends_epoch = epoch_length and step % epoch_length == 0 and step // epoch_length <= meta['epoch']
            for schedule in sorted(schedules, key=lambda schedule: schedule.by_epoch):
                if ends_epoch or not schedule.by_epoch:
                    schedule.step()


def check_resumed(dataset: Any, meta: dict) -> None:
    """Raises TrainingError if a checkpoint, by its metadata, and the training data differ in classes or their order."""
    before, now = classes_of(meta.get('dataset_meta')), classes_of(getattr(dataset, 'metainfo', None))
    if before != now:
        raise TrainingError(f'the checkpoint has the classes {", ".join(before)}, but the training data have '
                            f'{", ".join(now)}. Use the same classes in the same order, or {NEW_TRAINING}')
