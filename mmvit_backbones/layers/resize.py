"""Resizing of learned parameters, such as position tables, on load."""
from collections.abc import Callable, Sequence
from functools import partial

import torch
from mmengine.logging import print_log
from torch import Tensor, nn


def resize_on_load(module: nn.Module, name: str, resize: Callable[[Tensor, torch.Size], Tensor],
                   dims: Sequence[int]) -> None:
    """Adds a hook that resizes a parameter on load if its shape in the checkpoint differs, and logs both shapes.

    Args:
        module (nn.Module): The module with the parameter.
        name (str): Name of the parameter.
        resize (Callable): ``resize(table, shape)`` returns the checkpoint's tensor, resized to ``shape``.
        dims (Sequence[int]): Dimensions that may differ; ``load_state_dict`` raises an error if others differ.
    """
    module._register_load_state_dict_pre_hook(partial(resize_in_state_dict, name, resize, dims), with_module=True)


def resize_in_state_dict(name: str, resize: Callable[[Tensor, torch.Size], Tensor], dims: Sequence[int],
                         module: nn.Module, state_dict: dict, prefix: str, *args) -> None:
    parameter, table = module._parameters.get(name), state_dict.get(prefix + name)
    if parameter is None or table is None or table.ndim != parameter.ndim:
        return  # parametrizations, such as spectral norm, store their tensors under other names
    key, shape = prefix + name, parameter.shape
    different = {dim for dim, (a, b) in enumerate(zip(table.shape, shape)) if a != b}
    if different and different <= set(dims):
        state_dict[key] = resize(table, shape)
        print_log(f'{key}: resized from {tuple(table.shape)} to {tuple(shape)}', logger='current')
