"""Window operations of Swin (Liu et al., ICCV 2021, arXiv 2103.14030, section 3.2) on channels-last maps."""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .exportable import permutes_six_dimensions, roll, rows_and_columns, windows_by_head
from .graphs import are_fixed, is_trained, may_be_nonzero
from .sizes import is_positive, to_multiple


def pad_to_multiple(x: Tensor, multiple: int, value: float | None = None) -> Tensor:
    """Pads a map ``(B, H, W, C)`` on the right and bottom so that height and width are divisible by ``multiple``."""
    height, width = x.shape[1:3]
    return pad(x, *window_padding(height, width, multiple), value=value)


def window_padding(height: int, width: int, window_size: int, centered: bool = False) -> tuple[int, int, int, int]:
    """Returns the rows and columns that complete the windows of a map: top, left, bottom, right.

    They are at the right and bottom, or if ``centered``, on all sides.
    """
    rows, columns = (to_multiple(length, window_size) - length for length in (height, width))
    top, left = (rows // 2, columns // 2) if centered else (0, 0)
    return top, left, rows - top, columns - left


def pad_images(images: Tensor, multiple: int) -> Tensor:
    """Zero-pads images ``(B, C, H, W)`` on the right and bottom so that their sides are divisible by ``multiple``."""
    return pad_to_multiple(images.permute(0, 2, 3, 1), multiple).permute(0, 3, 1, 2)


def pad(x: Tensor, top: int = 0, left: int = 0, bottom: int = 0, right: int = 0, *,
        value: float | None = None) -> Tensor:
    """Pads a channels-last map ``(B, H, W, C)`` by the given rows and columns. Negative numbers crop the map.

    ``value`` defaults to None, which means 0: torch.compile traces the graph of a default that is a float twice.
    """
    if not may_be_nonzero(top, left, bottom, right):
        return x
    return F.pad(x, (0, 0, left, right, top, bottom), value=value)


def crop(x: Tensor, height: int, width: int, top: int = 0, left: int = 0) -> Tensor:
    """Crops a channels-last map ``(B, H, W, C)`` to ``height`` rows and ``width`` columns, which reverses :func:`pad`.

    This function uses no slices for symbolic sizes, because torch can't simplify them (see :mod:`.sizes`).
    """
    bottom, right = x.shape[1] - height - top, x.shape[2] - width - left
    if are_fixed(top, left, bottom, right):
        return rows_and_columns(x, top, left, height, width)
    return pad(x, top=-top, left=-left, bottom=-bottom, right=-right)


def channels_last(images: Tensor) -> Tensor:
    """Converts ``(B, C, H, W)`` to the channels-last memory format, also under ``torch.func.vmap``."""
    return images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def with_contiguous_gradient(x: Tensor) -> Tensor:
    """Returns a tensor as it is; if it is contiguous, its gradient is made contiguous, too.

    Residual connections would pass other strides to all earlier blocks, whose linear layers copy such gradients.
    """
    return x.flatten().view(x.shape) if is_trained(x) and x.is_contiguous() else x


def window_partition(qkv: Tensor, num_heads: int, window_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Partitions a packed projection into windows and heads, in one copy.

    Args:
        qkv (Tensor): ``(B, H, W, 3 * num_heads * d)``, whose last dimension is ordered as (3, num_heads, d). H and W
            must be multiples of ``window_size``.
        num_heads (int): Number of heads.
        window_size (int): Number of tokens along each side of a window.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Query, key and value, each ``(B, windows, num_heads, N, d)`` with
            ``N = window_size ** 2`` and the windows in row-major order.
    """
    if permutes_six_dimensions():
        q, k, v = (windows_by_head(part, num_heads, window_size) for part in qkv.chunk(3, dim=-1))
        return q, k, v
    b, h, w, c = qkv.shape
    s, d = window_size, c // (3 * num_heads)
    qkv = qkv.view(b, h // s, s, w // s, s, 3, num_heads, d).permute(5, 0, 1, 3, 6, 2, 4, 7)
    q, k, v = qkv.reshape(3, b, (h // s) * (w // s), num_heads, s * s, d).unbind(0)
    return q, k, v


def window_reverse(x: Tensor, window_size: int, height: int, width: int) -> Tensor:
    """Merges windows ``(B, windows, num_heads, N, d)`` into a map ``(B, height, width, num_heads * d)`` in one copy."""
    b, _, num_heads, _, d = x.shape
    s = window_size
    x = x.view(b * (height // s), width // s, num_heads, s, s, d).permute(0, 3, 1, 4, 2, 5)
    return x.contiguous().view(b, height, width, num_heads * d)


def cyclic_shift(x: Tensor, shift: int) -> Tensor:
    """Rolls a channels-last map ``(B, H, W, C)`` up and left by ``shift`` tokens, or down and right if ``shift`` < 0.

    Paper: arXiv 2103.14030, figure 4.
    """
    return roll(roll(x, -shift, 1), -shift, 2)


def window_shift(rows: int, columns: int, window_size: int) -> int:
    """Returns the shift of a map with rows and columns of windows: half a window, or 0 if one covers a side of the map.

    Paper: arXiv 2103.14030, figure 2.
    """
    return is_positive(rows - 1) * is_positive(columns - 1) * (window_size // 2)


def windows_exceed(size: Sequence[int], grid: Sequence[int], window_size: int) -> bool:
    """Returns whether a grid of windows is larger than a map of ``size``; always True in graphs for several sizes."""
    return may_be_nonzero(*(count * window_size - length for length, count in zip(size, grid)))


def shifted_window_mask(height: int, width: int, window_size: int, shift: int, like: Tensor) -> Tensor | None:
    """Returns the ``attn_mask`` of shifted windows, which restricts attention to tokens of the same image region.

    The mask is for a map of complete windows that is rolled up and left by ``shift`` tokens. Its shape is
    ``(windows, 1, N, N)``, with 0 within a region and -100 between regions, in the dtype and on the device of ``like``.
    For a shift of 0, the mask is None, or zeros in graphs for several sizes.

    Paper: arXiv 2103.14030, figure 4.
    """
    if not may_be_nonzero(shift):
        return None
    s = window_size
    # Only the windows of the last row and of the last column contain several regions.
    rows, columns = ((torch.arange(length, device=like.device) >= length - shift).long() for length in (height, width))
    region = (2 * rows.view(-1, 1, s, 1) + columns.view(-1, 1, s)).flatten(2).flatten(0, 1)  # (windows, N)
    differs = region[:, :, None] != region[:, None, :]
    return torch.where(differs[:, None], -100., 0.).to(like.dtype)


def position_bias(table: Tensor, index: Tensor) -> Tensor:
    """Returns the relative position biases of a window, ``(heads, N, N)`` with ``N = window_size ** 2``.

    Paper: arXiv 2103.14030, equation 4.

    Args:
        table (Tensor): ``(heads, (2 * window_size - 1) ** 2)``.
        index (Tensor): Index from :func:`relative_position_index`, ``(N, N)``.
    """
    return table.index_select(1, index.flatten()).unflatten(1, index.shape)


def relative_position_index(window_size: int, device: torch.device, wrapped: bool = False) -> Tensor:
    """Returns the index into a table of relative position biases for every query and key of a window, ``(N, N)``.

    The flattened table has ``2 * window_size - 1`` rows and columns. In Swin's layout, row and column are the query's
    position minus the key's, plus ``window_size - 1``. In RegionViT's layout (``wrapped``), row and column are the
    key's position minus the query's, plus ``window_size // 2``, modulo ``2 * window_size - 1``.
    """
    n, side = window_size, 2 * window_size - 1
    if wrapped:
        # The rows of this matrix have 2 * side - 1 elements, so that each starts one below the previous, modulo side.
        offset = (torch.arange(n // 2, n // 2 + n * (2 * side - 1), device=device) % side).view(n, -1)[:, :n]
        index = offset[None, :, None, :] + side * offset[:, None, :, None]
    else:  # the difference of indices row * side + column, of which the query's start at that of displacement 0
        zero = (n - 1) * (side + 1)
        position = torch.arange(zero + n * side, device=device)
        query, key = (part.view(n, side)[:, :n] for part in (position[zero:], position[:n * side]))
        index = query[:, :, None, None] - key
    return index.flatten(2).flatten(0, 1)
