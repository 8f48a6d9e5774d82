"""Hooks that the ``mmvit`` commands add to a run."""
import sys

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.utils import ProgressBar

from ..zoo.loading import check_overlap, load_weights


class CheckpointMatchHook(Hook):
    """Raises CheckpointError if the loaded checkpoint belongs to another network; MMEngine only warns.

    Args:
        name (str): Name of the checkpoint for error messages.
        strict (bool): Whether the checkpoint must have all weights of the model. If False, as for fine-tuning, one
            weight with a matching name is enough.
    """

    priority = 'LOWEST'

    def __init__(self, name: str, strict: bool) -> None:
        self.name, self.strict = name, strict

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        check = load_weights if self.strict else check_overlap
        check(runner.model, checkpoint, self.name)


class OptionsHook(Hook):
    """Saves the options of a run in its checkpoints as ``meta['options']``, for runs that resume from them.

    Args:
        options (dict): Values by option name: numbers, strings, or lists and dicts of numbers and strings.
    """

    def __init__(self, options: dict) -> None:
        self.options = options

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint['meta']['options'] = self.options


class ProgressBarHook(Hook):
    """Shows the progress and the remaining time of training on a terminal."""

    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        self.bar = ProgressBar(runner.max_iters - runner.iter, file=sys.stderr)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        self.bar.update()
