"""Windows of Swin (Liu et al., ICCV 2021, arXiv 2103.14030, section 3.2) on channels-last maps."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .linear import linear
from .tracing import is_needed


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pads a channels-last map ``(B, H, W, C)`` with zeros, right and bottom, to multiples of ``multiple``."""
    pad_h, pad_w = -x.shape[1] % multiple, -x.shape[2] % multiple
    return F.pad(x, (0, 0, 0, pad_w, 0, pad_h)) if is_needed(pad_h, pad_w) else x


def project_padded(layer: nn.Linear, x: Tensor, padding: tuple[int, int, int, int]) -> Tensor:
    """A linear layer on a map that is padded with zeros, without the work on the zeros: they become its bias.

    Args:
        layer (nn.Linear): With a bias.
        x (Tensor): ``(B, H, W, C)``.
        padding (tuple[int, int, int, int]): Columns left and right, rows above and below.
    """
    if not is_needed(*padding):
        return layer(x)
    x = F.pad(linear(x, layer.weight), (0, 0, *padding))
    return x + layer.bias.to(x.dtype)  # under autocast, the bias alone would be float32


def split_windows(qkv: Tensor, num_heads: int, window_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sorts a projected map by window and head, in one copy.

    Args:
        qkv (Tensor): ``(B, H, W, 3 * num_heads * d)``, ordered (3, head, d); H and W multiples of ``window_size``.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Query, key and value, each ``(B, windows * num_heads, N, d)`` with
        ``N = window_size ** 2``; windows row-major, the head fastest.
    """
    b, h, w, c = qkv.shape
    s, d = window_size, c // (3 * num_heads)
    qkv = qkv.view(b, h // s, s, w // s, s, 3, num_heads, d).permute(5, 0, 1, 3, 6, 2, 4, 7)
    return qkv.reshape(3, b, (h // s) * (w // s) * num_heads, s * s, d).unbind(0)


def merge_windows(x: Tensor, num_heads: int, window_size: int, height: int, width: int) -> Tensor:
    """Undoes :func:`split_windows` for one tensor, in one copy.

    Args:
        x (Tensor): ``(B, windows * num_heads, N, d)``.

    Returns:
        Tensor: ``(B, height, width, num_heads * d)``.
    """
    b, s, d = x.shape[0], window_size, x.shape[-1]
    x = x.view(b, height // s, width // s, num_heads, s, s, d).permute(0, 1, 4, 2, 5, 3, 6)
    return x.reshape(b, height, width, num_heads * d)


def roll_map(x: Tensor, shift: int) -> Tensor:
    """Rolls a channels-last map ``(B, H, W, C)`` up and left by ``shift`` tokens, or down and right by a negative."""
    if not torch.jit.is_tracing():
        return x.roll((-shift, -shift), dims=(1, 2))
    for dim in (1, 2):  # ONNX has no rolling by a number that depends on the size of the map
        x = x.index_select(dim, (torch.arange(x.shape[dim], device=x.device) + shift) % x.shape[dim])
    return x


def shift_mask(height: int, width: int, window_size: int, shift: int, like: Tensor) -> Tensor:
    """What shifted windows add to the logits, so that only neighbours in the picture see each other.

    Args:
        height, width (int): Size of the padded map, multiples of ``window_size``.
        shift (int): By how much the map was rolled up and left, in pixels.
        like (Tensor): Gives dtype and device.

    Returns:
        Tensor: ``(windows, N, N)``, 0 inside a region and -100 between regions.
    """

    def regions(length: int) -> Tensor:
        position = torch.arange(length, device=like.device)
        return (position >= length - window_size).int() + (position >= length - shift).int()

    s = window_size
    region = 3 * regions(height)[:, None] + regions(width)
    region = region.view(height // s, s, width // s, s).transpose(1, 2).reshape(-1, s * s)
    differs = region[:, None, :] != region[:, :, None]
    return differs.to(like.dtype) * -100
