"""Means of windows, whose gradient is added to that of the map in one pass."""
import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import at_least_float32, without_autocast
from .window import needs_padding


def window_means(x: Tensor, window_size: int, padding: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    """A map ``(B, H, W, C)``, for its other readers, and the means ``(B, nh, nw, C)`` of its windows.

    ``padding`` are zeros to the left, right, top and bottom that make windows whole. Under autocast, the means have at
    least 32 bits.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return x, means_of(x, window_size, padding)
    return _WindowMeans.apply(x, window_size, padding)


def means_of(x: Tensor, window_size: int, padding: tuple[int, int, int, int]) -> Tensor:
    if needs_padding(*padding):
        x = F.pad(x, (0, 0, *padding))
    device = x.device.type
    if device != 'meta' and torch.is_autocast_enabled(device):
        x = x.to(at_least_float32(x))
    with without_autocast(device):
        return x.unflatten(2, (-1, window_size)).unflatten(1, (-1, window_size)).mean((2, 4))


class _WindowMeans(torch.autograd.Function):
    """Autograd would write the gradients of the means for every token, and add them in a second pass."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, window_size: int, padding: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
        return x.view_as(x), means_of(x, window_size, padding)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
        _, ctx.window_size, ctx.padding = inputs

    @staticmethod
    def backward(ctx, grad: Tensor, grad_means: Tensor) -> tuple[Tensor, None, None]:
        share = grad_means.to(grad.dtype)[:, :, None, :, None] / ctx.window_size**2
        if not any(ctx.padding):
            windows = grad.unflatten(2, (-1, ctx.window_size)).unflatten(1, (-1, ctx.window_size))
            return (windows + share).flatten(3, 4).flatten(1, 2), None, None
        left, right, top, bottom = ctx.padding
        share = share.expand(-1, -1, ctx.window_size, -1, ctx.window_size, -1).flatten(3, 4).flatten(1, 2)
        return grad + F.pad(share, (0, 0, -left, -right, -top, -bottom)), None, None
