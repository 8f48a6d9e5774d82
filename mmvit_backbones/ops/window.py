"""Windows of Swin (Liu et al., ICCV 2021, arXiv 2103.14030, section 3.2) on channels-last maps."""
import torch
import torch.nn.functional as F
from torch import Tensor

from .constants import constant
from .sizes import may_be_nonzero, to_multiple


def pad_to_multiple(x: Tensor, multiple: int, value: float = 0.) -> Tensor:
    """Pads a channels-last map ``(B, H, W, C)``, right and bottom, to multiples of ``multiple``."""
    bottom, right = (to_multiple(n, multiple) - n for n in x.shape[1:3])
    return pad(x, bottom=bottom, right=right, value=value)


def pad_images(images: Tensor, multiple: int) -> Tensor:
    """Pads images ``(B, C, H, W)`` with zeros, right and bottom, to multiples of ``multiple``."""
    return pad_to_multiple(images.permute(0, 2, 3, 1), multiple).permute(0, 3, 1, 2)


def pad(x: Tensor, *, top: int = 0, left: int = 0, bottom: int = 0, right: int = 0, value: float = 0.) -> Tensor:
    """Pads a channels-last map ``(B, H, W, C)``; negative numbers of rows and columns crop it."""
    if not may_be_nonzero(top, left, bottom, right):
        return x
    return F.pad(x, (0, 0, left, right, top, bottom), value=value)


def crop(x: Tensor, height: int, width: int, top: int = 0, left: int = 0) -> Tensor:
    """Returns ``height`` rows and ``width`` columns of a channels-last map ``(B, H, W, C)``: reverses :func:`pad`.

    Unlike a slice, whose size is a minimum (:mod:`.sizes`).
    """
    bottom, right = x.shape[1] - height - top, x.shape[2] - width - left
    return pad(x, top=-top, left=-left, bottom=-bottom, right=-right)


def window_partition(qkv: Tensor, num_heads: int, window_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Partitions a projected map into windows and heads, in one copy.

    From ``(B, H, W, 3 * num_heads * d)``, ordered (3, head, d), H and W multiples of ``window_size``, to query, key and
    value, each ``(B, windows, num_heads, N, d)`` with ``N = window_size ** 2``; windows row-major.
    """
    b, h, w, c = qkv.shape
    s, d = window_size, c // (3 * num_heads)
    qkv = qkv.view(b, h // s, s, w // s, s, 3, num_heads, d).permute(5, 0, 1, 3, 6, 2, 4, 7)
    q, k, v = qkv.reshape(3, b, (h // s) * (w // s), num_heads, s * s, d).unbind(0)
    return q, k, v


def window_reverse(x: Tensor, window_size: int, height: int, width: int) -> Tensor:
    """Maps ``(B, windows, num_heads, N, d)`` to ``(B, height, width, num_heads * d)``, in one copy."""
    b, _, num_heads, _, d = x.shape
    s = window_size
    x = x.view(b, height // s, width // s, num_heads, s, s, d).permute(0, 1, 4, 2, 5, 3, 6)
    return x.contiguous().view(b, height, width, num_heads * d)


def cyclic_shift(x: Tensor, shift: int) -> Tensor:
    """Rolls a channels-last map ``(B, H, W, C)`` up and left by ``shift`` tokens, or down and right by a negative.

    In two parts, because exporters know no ``torch.roll`` by a shift that depends on the size.

    Paper: arXiv 2103.14030, figure 4.
    """
    for dim in (1, 2):
        length = x.shape[dim]
        start = shift % length
        first, last = x.split([start, length - start], dim=dim)
        x = torch.cat([last, first], dim=dim)
    return x


def shifted_window_mask(height: int, width: int, window_size: int, shift: int, like: Tensor) -> Tensor:
    """Returns ``attn_mask`` of shifted windows: only tokens that are neighbors in the image attend to each other.

    Of a map of whole windows that was rolled up and left by ``shift`` tokens: ``(windows, 1, N, N)``, 0 inside a region
    and -100 between regions, with the dtype and device of ``like``.

    Paper: arXiv 2103.14030, figure 4.
    """
    s = window_size
    # Only windows of the last row and column hold tokens of two regions.
    rows, columns = (torch.arange(length, device=like.device) >= length - shift for length in (height, width))
    region = (2 * rows.view(-1, 1, s, 1) + columns.view(-1, 1, s)).flatten(2).flatten(0, 1)  # (windows, N)
    differs = region[:, :, None] != region[:, None, :]
    return differs[:, None] * torch.full((), -100, dtype=like.dtype, device=like.device)


def position_bias(table: Tensor, window_size: int, wrapped: bool = False) -> Tensor:
    """Reads a flat table of displacements ``(heads, (2 * window_size - 1) ** 2)`` for every query and key of a window.

    Paper: arXiv 2103.14030, equation 4.

    Returns:
        Tensor: ``(heads, N, N)`` with ``N = window_size ** 2``; :func:`relative_position_index` has the layouts.
    """
    index = constant(relative_position_index, window_size, wrapped, like=table)
    return table.index_select(1, index).view(-1, window_size**2, window_size**2)


def relative_position_index(window_size: int, wrapped: bool, like: Tensor) -> Tensor:
    """Returns the entry of a flat table of displacements for every query and key of a window, ``(N * N, )``.

    Swin's layout is query minus key, the most negative first. RegionViT's is ``wrapped``: key minus query, displacement
    0 at ``window_size // 2`` and what is below wrapped around. On the device of ``like``.
    """
    position, side = torch.arange(window_size, device=like.device), 2 * window_size - 1
    offset = position[:, None] - position + window_size - 1
    if wrapped:
        offset = (position - position[:, None] + window_size // 2) % side
    index = offset[:, None, :, None] * side + offset[None, :, None, :]
    return index.flatten()
