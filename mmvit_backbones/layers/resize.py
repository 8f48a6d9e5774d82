"""Resizing of learned parameters, such as position tables, on load and at run time."""
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from ..ops.precision import at_least_float32


def interpolate(x: Tensor, size: Sequence[int], mode: Literal['linear', 'bilinear', 'bicubic'],
                align_corners: bool = False) -> Tensor:
    """Resizes ``(N, C, ...)`` to ``size``; computes in at least float32, and returns the dtype of the input."""
    corners = align_corners if mode in ('bicubic', 'bilinear') else None
    return F.interpolate(x.to(at_least_float32(x)), size, mode=mode, align_corners=corners).to(x.dtype)


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
