"""Stops training if the loss or the weights are NaN or inf."""
import math

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...errors import TrainingError
from ...utils.finite import first_not_finite
from .interrupt import largest

REMEDY = ('Resume from an earlier checkpoint, if there is one, with a lower learning rate, a longer warm-up, '
          'optim_wrapper.clip_grad, or bfloat16 instead of float16')


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops training after several consecutive steps with a loss of NaN or inf, and saves no weights of NaN or inf.

    A single step with such a loss does no harm in mixed precision training: the gradient scaler skips the step. Weights
    of NaN never recover; a checkpoint that has some, also in averaged weights or the optimizer's state, is not written.
    A loss that is NaN or inf in one process counts in all of them.

    Args:
        max_steps (int): Number of consecutive steps after which training stops. Defaults to 3.

    Raises:
        TrainingError: If the loss of ``max_steps`` consecutive steps is NaN or inf, or a checkpoint has such values.
    """

    priority = 'LOW'  # after hooks that add averaged weights to a checkpoint, before the one that saves it

    def __init__(self, max_steps: int = 3) -> None:
        self.max_steps, self.steps = max_steps, 0

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        loss = torch.as_tensor((outputs or {}).get('loss', 0.)).item()
        self.steps = self.steps + 1 if largest(not math.isfinite(loss)) else 0
        if self.steps >= self.max_steps:
            found = 'finite here, but NaN or inf in another process' if math.isfinite(loss) else loss
            raise TrainingError(f'iteration {runner.iter + 1}: the loss was {found} for {self.steps} steps. {REMEDY}')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if found := first_not_finite(state_of(checkpoint)):
            raise TrainingError(f'iteration {checkpoint["meta"]["iter"]}: {found}; no checkpoint is saved. {REMEDY}')


def state_of(checkpoint: dict) -> dict:
    """Returns the weights of a checkpoint of MMEngine, their averages and the state of the optimizer."""
    return {key: checkpoint[key] for key in ('state_dict', 'ema_state_dict', 'optimizer') if key in checkpoint}
