"""Tables of learned positions in another size: those of a checkpoint, and at run time."""
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from ..ops.precision import at_least_float32


def interpolate(x: Tensor, size: Sequence[int], mode: str, align_corners: bool = False) -> Tensor:
    """Interpolates ``(N, C, ...)`` in float32 at least, and keeps the dtype."""
    align_corners = align_corners if mode in ('bicubic', 'bilinear') else None
    return F.interpolate(x.to(at_least_float32(x)), size, mode=mode, align_corners=align_corners).to(x.dtype)


def resize_on_load(module: nn.Module, name: str, resize: Callable[[Tensor, torch.Size], Tensor],
                   dims: Sequence[int]) -> None:
    """Lets a checkpoint load in which a parameter has another size, with one log line.

    Args:
        module (nn.Module): Has the parameter.
        name (str): Its name.
        resize (Callable): ``resize(table, shape)`` returns the checkpoint's tensor in the shape of the parameter.
        dims (Sequence[int]): Dimensions that may differ; where others do, ``load_state_dict`` reports it.
    """
    module._register_load_state_dict_pre_hook(partial(resize_in_state_dict, name, resize, dims), with_module=True)


def resize_in_state_dict(name: str, resize: Callable[[Tensor, torch.Size], Tensor], dims: Sequence[int],
                         module: nn.Module, state_dict: dict, prefix: str, *args) -> None:
    parameter, table = module._parameters.get(name), state_dict.get(prefix + name)
    if parameter is None or table is None or table.ndim != parameter.ndim:
        return  # a parametrization, such as a spectral norm, has its tensors under other names
    key, shape = prefix + name, parameter.shape
    different = {dim for dim, (a, b) in enumerate(zip(table.shape, shape)) if a != b}
    if different and different <= set(dims):
        state_dict[key] = resize(table, shape)
        print_log(f'{key}: resized from {tuple(table.shape)} to {tuple(shape)}', logger='current')
