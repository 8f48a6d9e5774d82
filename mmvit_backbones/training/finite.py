"""Stops training if the loss or a weight is NaN or inf."""
import math

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..errors import TrainingError
from ..zoo.loading import unwrap_model
from .plan import optim_wrappers


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops training after several consecutive steps with a loss of NaN or inf.

    A single step with such a loss does no harm in mixed precision training: the gradient scaler skips the step.

    Args:
        max_steps (int): Number of consecutive steps after which training stops. Defaults to 3.

    Raises:
        ValueError: If ``max_steps`` is below 1.
        TrainingError: If the loss of ``max_steps`` consecutive steps is NaN or inf. The message contains the iteration,
            the learning rate, and the first parameter that is not finite.
    """

    def __init__(self, max_steps: int = 3) -> None:
        if max_steps < 1:
            raise ValueError(f'max_steps must be at least 1, got {max_steps}')
        self.max_steps, self.steps = max_steps, 0

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        loss = float(torch.as_tensor((outputs or {}).get('loss', 0.)).detach())
        self.steps = 0 if math.isfinite(loss) else self.steps + 1
        if self.steps >= self.max_steps:
            raise _error(runner, runner.iter + 1, f'the loss was {loss} for {self.steps} steps',
                         first_non_finite(runner.model))


def check_finite(runner: Runner, iteration: int) -> None:
    """Raises TrainingError if a parameter has NaN or inf after an iteration."""
    if name := first_non_finite(runner.model):
        raise _error(runner, iteration, 'the weights are not finite and were not saved', name)


def first_non_finite(model: torch.nn.Module) -> str | None:
    """Returns the name of the first parameter with NaN or inf, or None."""
    # Each process checks its own shards.
    return next((name for name, p in unwrap_model(model).named_parameters()
                 if not getattr(p, '_local_tensor', p).isfinite().all()), None)


def _error(runner: Runner, iteration: int, problem: str, parameter: str | None) -> TrainingError:
    rates = [rate for wrapper in optim_wrappers(runner) for rates in wrapper.get_lr().values() for rate in rates]
    where = f'the first parameter with NaN or inf is {parameter}' if parameter else 'all parameters are still finite'
    last = runner.message_hub.runtime_info.get('last_ckpt') or 'none'
    return TrainingError(
        f'iteration {iteration}: {problem}; learning rate {max(rates):.3g}; {where}; last checkpoint: {last}. '
        'Try a lower learning rate, a longer warm-up, optim_wrapper.clip_grad, or bfloat16 instead of float16')
