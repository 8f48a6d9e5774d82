"""Resizing of maps and of learned parameters, such as position tables, on load and at run time."""
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


def pooling_matrix(old_length: int, length: int, like: Tensor) -> Tensor:
    """Returns the matrix ``(length, old_length)`` of adaptive average pooling.

    The inputs divide a line into ``old_length`` equal parts, and the outputs divide the same line into ``length`` equal
    parts. An output is the mean of all inputs that overlap its part. From 3 to 2, the rows of the matrix are
    (1/2, 1/2, 0) and (0, 1/2, 1/2); from 1 to 2, both rows are (1).

    A product with this matrix has deterministic gradients on GPUs, unlike PyTorch's adaptive pooling, and compilers
    support it for all sizes.
    """
    output = torch.arange(length, device=like.device)
    input = torch.arange(old_length, device=like.device)
    # On a line of old_length * length units, an output is old_length units long, and an input is length units long.
    distance = output[:, None] * old_length - input * length
    overlaps = torch.logical_and(distance < length, distance > -old_length).to(like.dtype)  # Core ML lacks `&`
    return overlaps / overlaps.sum(1, keepdim=True)


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
