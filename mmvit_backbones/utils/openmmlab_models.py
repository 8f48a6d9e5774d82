"""Initializes models of OpenMMLab, takes them out of wrappers, and copies them without memory."""
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModule, BaseTTAModel, is_model_wrapper
from torch import Tensor, nn


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


def on_meta(network: nn.Module) -> Any:
    """Returns a copy of a network on the meta device, which takes neither memory nor time; quantized tensors stay."""
    tensors = [x for x in (*network.parameters(), *network.buffers())
               if type(x) in (Tensor, nn.Parameter) and not x.is_quantized]
    return deepcopy(network, {id(x): like(x) for x in tensors})


def like(x: Tensor) -> Tensor:
    empty = torch.empty_like(x, device='meta')
    return nn.Parameter(empty, x.requires_grad) if isinstance(x, nn.Parameter) else empty


def type_name(part: Mapping) -> str:
    """Returns the name of a part's type, which may be a class, without its scope or module, such as ``mmdet.``."""
    kind = part.get('type')
    return str(getattr(kind, '__name__', kind)).rpartition('.')[2]
