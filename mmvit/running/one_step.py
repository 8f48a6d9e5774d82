"""A step of a training without a runner: the model of a config with its preprocessor and optimizer, on a batch."""
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Any

import torch
from mmengine.optim import build_optim_wrapper

from mmvit_backbones.utils.openmmlab_models import log_from, unwrap_model

from ..utils.pytorch_errors import named

UPDATES = 2  # in the second, the optimizer's state, which the first one makes, meets the activations
MOST_SKIPPED = 20  # steps of float16, each of which halves the factor of the loss


class OneStep:
    """A model as a training has it, with its optimizer.

    Args:
        model (BaseModel): The model, which is moved to the device.
        optim_wrapper (Mapping): Config of the optimizer.
        device (torch.device | str): Where the model is trained. Defaults to 'cpu'.
        autocast (AbstractContextManager): In which losses are computed, besides that of ``optim_wrapper``.

    Raises:
        UsageError: If the optimizer cannot be built.
    """

    def __init__(self, model: Any, optim_wrapper: Mapping, device: torch.device | str = 'cpu',
                 autocast: AbstractContextManager | None = None) -> None:
        self.model, self.autocast = model.to(device).train(), autocast or nullcontext()
        with named('optim_wrapper'), log_from(logging.WARNING):  # constructors log the rate of each parameter
            self.optimizer: Any = build_optim_wrapper(model, dict(optim_wrapper))

    def prepared(self, batch: Any) -> Any:
        """Returns a batch of a data loader as the model takes it, on the device of the model."""
        model: Any = unwrap_model(self.model)
        return model.data_preprocessor(batch, True)

    def losses(self, data: Any) -> Any:
        """Returns the losses of a prepared batch."""
        with self.autocast:
            return self.model(**data, mode='loss')

    def take(self, batch: Any) -> None:
        """Takes a step on a batch of a data loader."""
        model: Any = unwrap_model(self.model)
        with self.optimizer.optim_context(self.model):
            losses = self.losses(self.prepared(batch))
        self.optimizer.update_params(model.parse_losses(losses)[0])

    def update_twice(self, batch: Any) -> None:
        """Takes steps on copies of a batch until the weights have been updated twice.

        An update takes several steps if gradients are accumulated; the scaler of float16 skips the first steps, whose
        gradients overflow.
        """
        updates = []
        counting = self.optimizer.optimizer.register_step_post_hook(lambda *_: updates.append(True))
        steps = 0
        while len(updates) < UPDATES and steps < (UPDATES + MOST_SKIPPED) * self.optimizer._accumulative_counts:
            self.take(deepcopy(batch))
            steps += 1
        counting.remove()
