"""Hooks of the training and test scripts."""
import sys

import numpy as np
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner, set_random_seed
from mmengine.utils import ProgressBar
from torch.utils.data import DataLoader

from ..accelerate import accelerate
from ..checkpoints.loading import check_overlap, load_weights


class CheckpointMatchHook(Hook):
    """Stop when the loaded checkpoint is that of another network; mmengine only warns.

    Args:
        name (str): How to call the checkpoint in the message.
        strict (bool): Ask for all weights of the model, and not only for one, as fine-tuning does.
    """

    priority = 'LOWEST'

    def __init__(self, name: str, strict: bool) -> None:
        self.name = name
        self.strict = strict

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        check = load_weights if self.strict else check_overlap
        check(runner.model, checkpoint, self.name)


class AccelerateHook(Hook):
    """Swap in the fastest modules for the device of the model (:func:`mmvit_backbones.accelerate`)."""

    priority = 'LOWEST'  # after the weights are loaded

    def before_train(self, runner: Runner) -> None:
        accelerate(runner.model)

    def before_test(self, runner: Runner) -> None:
        accelerate(runner.model, inference=True)


class ProgressBarHook(Hook):
    """Show on a terminal how far a training is, and for how long it will go on."""

    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        self.bar = ProgressBar(runner.max_iters - runner.iter, file=sys.stderr)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        self.bar.update()


class ExactResumeHook(Hook):
    """Make a resumed training repeat what the uninterrupted one does, bit for bit where the kernels do.

    mmengine resumes weights, optimizer, schedules and the order of the data, but no random states. Here these
    are a function of seed, rank and iteration wherever a training can be resumed: at the start of an epoch,
    and in a loop over iterations after each checkpoint. The workers of the data loader take their seeds from
    the main process; they must not outlive an epoch (`persistent_workers=False`).
    """

    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        self.last_checkpoint = runner.message_hub.get_info('last_ckpt')
        # mmengine's function gives a worker the same seed in all epochs.
        if 'worker_init_fn' not in runner.cfg.train_dataloader:
            runner.train_dataloader.worker_init_fn = None
        if isinstance(runner.train_loop, IterBasedTrainLoop) and not _can_skip(runner.train_dataloader):
            runner.logger.warning('The sampler has no method skip: a resumed training will differ by chance.')

    def before_train_epoch(self, runner: Runner) -> None:
        _seed(runner, runner.iter)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        checkpoint = runner.message_hub.get_info('last_ckpt')
        if not isinstance(runner.train_loop, IterBasedTrainLoop) or checkpoint == self.last_checkpoint:
            return
        # Do now what a resumed training does: start new workers at this place in the data.
        self.last_checkpoint = checkpoint
        if _can_skip(runner.train_dataloader):
            runner.train_loop.dataloader_iterator.skip_iter(runner.iter + 1)
        _seed(runner, runner.iter + 1)

    def after_val(self, runner: Runner) -> None:
        # A training resumed at this checkpoint does not validate first.
        _seed(runner, runner.iter)


def _seed(runner: Runner, iteration: int) -> None:
    state = np.random.SeedSequence((runner.seed, get_rank(), iteration)).generate_state(1)
    set_random_seed(int(state[0]))


def _can_skip(loader: DataLoader) -> bool:
    samplers = (loader.sampler, getattr(loader.batch_sampler, 'sampler', None))
    return any(hasattr(sampler, 'skip') for sampler in samplers)
