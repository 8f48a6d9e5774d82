"""Initializes models of OpenMMLab, and takes them out of wrappers."""
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.logging import MMLogger
from mmengine.model import BaseModule, BaseTTAModel, is_model_wrapper
from torch import nn


def unwrap_model(model: nn.Module) -> nn.Module:
    """Returns the model without its wrappers for distributed training or test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.get_submodule('module')
    return model


def init_weights(model: BaseModule) -> None:
    """Initializes a model's weights without MMEngine's log line per parameter; skips models on the meta device."""
    if next(model.parameters()).is_meta:
        return
    with log_from(logging.WARNING):
        model.init_weights()


@contextmanager
def log_from(level: int) -> Iterator[None]:
    """Keeps what is below a level, such as ``logging.WARNING``, out of MMEngine's log."""
    logger = MMLogger.get_current_instance()
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
