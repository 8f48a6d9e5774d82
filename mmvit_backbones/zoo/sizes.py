"""Checks the size of a model from an untrusted file before memory is allocated for the model."""
import copy
import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from mmengine.config import ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from ..errors import first_line
from ..utils.file_configs import FRAMEWORKS, dicts_in, import_quietly
from .allowlist import NotAllowedError

MAX_MODULES = 5000  # five times as many as in the largest model in configs/
MAX_SECONDS = 5.  # CPU time of the thread that builds the model on the meta device
MAX_RATIO = 1.5  # elements of the model per element in the file; computed tables are not in the file
FREE_ELEMENTS = 2**20  # additional elements, for tiny models


class TooLarge(BaseException):
    """A model exceeds the limits. Not a subclass of Exception, so that frameworks do not catch it."""


def build_without_weights(model: dict, scope: str | None = None, num_elements: float = math.inf) -> nn.Module:
    """Builds a model on the meta device, without allocating memory for weights.

    Args:
        model (dict): Config of the model, from :func:`allowed_parts`.
        scope (str | None): Framework of the model. Defaults to None, for parts of this package.
        num_elements (float): Number of elements of the weights in the file. Defaults to no limit.

    Raises:
        NotAllowedError: If the model cannot be built, exceeds the limits above, or is from a framework that is not
            installed.
    """
    named = {entry['type'].partition('.')[0] for entry in dicts_in(model) if 'type' in entry}
    for framework in {scope, *named} & set(FRAMEWORKS):
        import_framework(framework)
    if scope is not None:
        init_default_scope(scope)
    largest = MAX_RATIO * num_elements + FREE_ELEMENTS
    try:
        with torch.device('meta'), limited(largest):
            built = revert_sync_batchnorm(MODELS.build(ConfigDict(copy.deepcopy(model))))
        built.to('meta')  # torch.Tensor(...) ignores the default device
        if sum(tensor.numel() for tensor in (*built.parameters(), *built.buffers())) > largest:
            raise TooLarge
    except TooLarge:
        raise NotAllowedError('the model in the config has too many modules, takes too long to build, or is larger '
                              'than its weights') from None
    except Exception as error:  # invalid arguments can raise any exception
        raise NotAllowedError(f'the model in the config cannot be built: {first_line(error)}') from error
    return built


def import_framework(name: str) -> None:
    """Registers the models and datasets of a framework; raises NotAllowedError if it is not installed."""
    if find_spec(name) is None:
        raise NotAllowedError(f'the config needs {name}, which is not installed')
    import_quietly(name)


def count_elements(weights: Mapping) -> int:
    """Returns the number of elements in the tensors' storages; shared storages count once."""
    storages = {tensor.untyped_storage()._cdata: tensor for tensor in weights.values() if isinstance(tensor, Tensor)}
    return sum(tensor.untyped_storage().nbytes() // tensor.element_size() for tensor in storages.values())


@contextmanager
def limited(num_elements: float) -> Iterator[None]:
    """Raises TooLarge as soon as a model built by this thread exceeds ``num_elements`` or the limits above."""
    thread, end = threading.get_ident(), time.thread_time() + MAX_SECONDS
    left = dict(modules=MAX_MODULES, elements=num_elements)

    def take(module: nn.Module, name: str, part: nn.Module | Tensor | None) -> None:
        if threading.get_ident() != thread:  # the hooks apply to all threads
            return
        if isinstance(part, nn.Module):
            left['modules'] -= 1
        elif part is not None:
            left['elements'] -= part.numel()
        if min(left.values()) < 0 or time.thread_time() > end:
            raise TooLarge

    hooks = [register(take) for register in (
        register_module_module_registration_hook, register_module_parameter_registration_hook,
        register_module_buffer_registration_hook)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
