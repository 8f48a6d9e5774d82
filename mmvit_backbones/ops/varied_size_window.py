"""Varied-size window attention, in which the position and size of windows differ between heads.

VSA: Learning Varied-Size Window Attention in Vision Transformers (Zhang et al., ECCV 2022, arXiv 2204.08446). Each
window of ``ws x ws`` queries attends to ``ws x ws`` keys and values. They are sampled bilinearly on a grid, which is
shifted by an offset and stretched by a scale. ``csrc/`` has kernels in C++, and in CUDA for the sampling.

A value at (x, y) is interpolated from four pixels of the map f, with weights from ``fx = x - x0``, ``fy = y - y0``,
``x0 = floor(x)`` and ``y0 = floor(y)``. Let g be its gradient. The gradient of each pixel is g times the pixel's
weight. The gradients of offset and scale are sums over the window's tokens (i, j) and channels, with
``m = (window_size - 1) / 2`` (the same for y)::

    df/dx = (1 - fy) (f[y0, x0+1] - f[y0, x0]) + fy (f[y0+1, x0+1] - f[y0+1, x0])
    d offset_x = sum of g df/dx,   d scale_x = sum of (j - m) g df/dx

At integer positions, df/dx is the right-hand derivative.
"""
import operator
from collections.abc import Callable
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from .dispatch import BackendName, Kernel, Operator, is_plain
from .exportable import windows_by_head
from .graphs import is_transformed
from .precision import at_least_float32
from .window import crop, position_bias, relative_position_index, window_reverse

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def varied_size_window_sample(features: Tensor, scale: Tensor, offset: Tensor, window_size: int,
                              pad: tuple[int, int] = (0, 0), backend: BackendName | None = None) -> Tensor:
    """Samples a map at the tokens of shifted and scaled windows.

    With ``m = (window_size - 1) / 2``, the position of token (i, j) of window (r, c) in feature-map pixels is::

        x = c * window_size + m - left + (1 + scale_x) * (j - m) + offset_x
        y = r * window_size + m - top + (1 + scale_y) * (i - m) + offset_y

    The token is interpolated bilinearly from the four pixels around its position. Pixels outside the map are 0, and
    tokens whose position is not finite are 0. Positions are computed in float32, or in float64 for float64 features.

    Paper: arXiv 2204.08446, section 3.2, sampling.

    Args:
        features (Tensor): ``(B, heads, C, H, W)`` in float16, bfloat16, float32 or float64. Any strides are allowed;
            contiguous channels are fastest.
        scale (Tensor): ``(B, heads, 2, nh, nw)``; in the third dimension, index 0 is x and index 1 is y. Tokens
            are ``1 + scale`` pixels apart.
        offset (Tensor): Shift of the windows in feature-map pixels, with the shape of ``scale``.
        window_size (int): Number of tokens along each side of a window.
        pad (tuple[int, int]): Number of zero rows above and of zero columns left of the map, (top, left).
        backend (str | None): ``'reference'``, ``'cpp'`` or ``'cuda'``. Defaults to None: C++ on CPUs and CUDA on GPUs
            if they are compiled, else the reference (see :class:`.use_kernels`).

    Returns:
        Tensor: ``(B, heads, C, nh * window_size, nw * window_size)`` in the dtype of ``features``.

    Raises:
        ValueError: If shapes, ``window_size`` or ``pad`` are invalid, or ``backend`` is unknown or can't run; the
            message states the reason.
        TypeError: If the dtype of ``features`` is not one of the above.

    Example:
        >>> import torch
        >>> from mmvit_backbones.ops import varied_size_window_sample
        >>> features, zeros = torch.rand(1, 2, 8, 14, 21), torch.zeros(1, 2, 2, 2, 3)
        >>> sampled = varied_size_window_sample(features, zeros, zeros, window_size=7)
        >>> torch.allclose(sampled, features, atol=1e-5)  # scale and offset of 0 keep the map
        True
    """
    check_windows('features', features, scale, offset, window_size, pad)
    scale, offset = to_position_dtype(features, scale, offset)
    top, left = pad
    return SAMPLING(backend, features=features, scale=scale, offset=offset, window_size=window_size, top=top, left=left)


def varied_size_window_attention(q: Tensor, k: Tensor, v: Tensor, scale: Tensor, offset: Tensor, bias_table: Tensor,
                                 window_size: int, pad: tuple[int, int] = (0, 0), softmax_scale: float | None = None,
                                 backend: BackendName | None = None) -> Tensor:
    """Attends from the queries of fixed windows to keys and values sampled by :func:`varied_size_window_sample`.

    Computes ``softmax(softmax_scale * Q K^T + bias) V`` per window and head. Queries in the padding are zero, and their
    outputs are dropped. Keys sampled outside the map are zero, but are not masked. For the backward pass, kernels save
    the log-sum-exp of each query instead of the attention weights.

    Paper: arXiv 2204.08446, section 3.2.

    Args:
        q, k, v (Tensor): ``(B, heads, d, H, W)`` each. Any strides are allowed; views of a packed channels-last
            projection are fastest.
        scale, offset (Tensor): ``(B, heads, 2, nh, nw)`` as in :func:`varied_size_window_sample`. The windows must
            cover the padded map: ``nh * window_size >= top + H`` and ``nw * window_size >= left + W``.
        bias_table (Tensor): ``((2 * window_size - 1) ** 2, heads)``. For a query at (i, j) and a key at (i', j') of a
            window, the row is ``(i - i' + window_size - 1) * (2 * window_size - 1) + j - j' + window_size - 1``.
        window_size (int): Number of tokens along each side of a window.
        pad (tuple[int, int]): Number of zero rows above and of zero columns left of the map, (top, left).
        softmax_scale (float | None): Factor of the logits. Defaults to None, which means ``d ** -0.5``.
        backend (str | None): ``'reference'``, ``'cpp'`` or ``'cuda'`` (sampling in CUDA, then
            ``scaled_dot_product_attention``). Defaults to None: C++ on CPUs and CUDA on GPUs if they are compiled, else
            the reference (see :class:`.use_kernels`).

    Returns:
        Tensor: ``(B, heads, d, H, W)``, stored as ``(B, H, W, heads, d)``.

    Raises:
        ValueError: If shapes, ``window_size`` or ``pad`` are invalid, or ``backend`` is unknown or can't run; the
            message states the reason.
        TypeError: If ``q``, ``k`` and ``v`` don't all have the same dtype: float16, bfloat16, float32 or float64.

    Example:
        >>> import torch
        >>> from mmvit_backbones.ops import varied_size_window_attention
        >>> qkv = torch.rand(1, 10, 13, 3, 2, 8)  # the output of a linear layer: (B, H, W, 3, heads, d)
        >>> q, k, v = qkv.permute(3, 0, 4, 5, 1, 2)
        >>> scale, offset = 0.1 * torch.randn(2, 1, 2, 2, 3, 4)  # 3 x 4 windows cover 12 x 16 pixels
        >>> varied_size_window_attention(q, k, v, scale, offset, torch.zeros(49, 2), window_size=4).shape
        torch.Size([1, 2, 8, 10, 13])
    """
    check_windows('q', q, scale, offset, window_size, pad)
    check_attention(q, k, v, scale, bias_table, window_size, pad)
    softmax_scale = q.shape[2]**-0.5 if softmax_scale is None else float(softmax_scale)
    scale, offset, bias_table = to_position_dtype(q, scale, offset, bias_table)
    top, left = pad
    return ATTENTION(backend, q=q, k=k, v=v, scale=scale, offset=offset, bias_table=bias_table, window_size=window_size,
                     top=top, left=left, softmax_scale=softmax_scale)


def packed_attention(qkv: Tensor, scale: Tensor, offset: Tensor, bias_table: Tensor, window_size: int,
                     pad: tuple[int, int], softmax_scale: float) -> Tensor:
    """Computes :func:`varied_size_window_attention` of a packed projection, which CUDA samples without copies.

    Maps ``(B, H, W, 3 * heads * d)``, whose last dimension is ordered as (3, heads, d), to ``(B, H, W, heads * d)``.
    """
    parts = qkv.flatten(1, 2).unflatten(-1, (3, scale.shape[1], -1))  # (B, H * W, 3, heads, d)
    q, k, v = (part.permute(0, 2, 3, 1).unflatten(-1, qkv.shape[1:3]) for part in parts.unbind(2))
    scale, offset, bias_table = to_position_dtype(qkv, scale, offset, bias_table)
    top, left = pad
    arguments = dict(q=q, k=k, v=v, scale=scale, offset=offset, bias_table=bias_table, window_size=window_size,
                     top=top, left=left, softmax_scale=softmax_scale)
    backend = ATTENTION.choose(arguments)
    if backend == 'cuda':
        return packed_attention_with_sampling_in_cuda(parts.unflatten(1, qkv.shape[1:3]), scale, offset, bias_table,
                                                      window_size, top, left, softmax_scale)
    return ATTENTION.kernels[backend].run(**arguments).permute(0, 3, 4, 1, 2).flatten(3)


def check_windows(name: str, features: Tensor, scale: Tensor, offset: Tensor, window_size: int,
                  pad: tuple[int, int]) -> None:
    if features.dtype not in DTYPES:
        raise TypeError(f'{name} must be float16, bfloat16, float32 or float64, got {features.dtype}')
    if features.ndim != 5:
        raise ValueError(f'{name} must be (B, heads, channels, H, W), got {tuple(features.shape)}')
    if scale.ndim != 5 or scale.shape != offset.shape or scale.shape[:3] != (*features.shape[:2], 2):
        raise ValueError(f'scale and offset must be (B, heads, 2, nh, nw) with the B and heads of {name} '
                         f'{tuple(features.shape)}, got {tuple(scale.shape)} and {tuple(offset.shape)}')
    if window_size < 1 or len(pad) != 2 or pad[0] < 0 or pad[1] < 0:
        raise ValueError(f'window_size must be at least 1 and pad (top, left) at least 0, got {window_size} and {pad}')


def check_attention(q: Tensor, k: Tensor, v: Tensor, scale: Tensor, bias_table: Tensor, window_size: int,
                    pad: tuple[int, int]) -> None:
    if k.shape != q.shape or v.shape != q.shape:
        raise ValueError(f'q, k and v must have the same shape, '
                         f'got {tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}')
    if k.dtype != q.dtype or v.dtype != q.dtype:
        raise TypeError(f'q, k and v must have the same dtype, got {q.dtype}, {k.dtype}, {v.dtype}')
    shape = (2 * window_size - 1)**2, q.shape[1]
    if bias_table.shape != shape:
        raise ValueError(f'bias_table must be ((2 * window_size - 1) ** 2, heads) = {shape}, '
                         f'got {tuple(bias_table.shape)}')
    for axis, size, windows, front in zip('HW', q.shape[3:], scale.shape[3:], pad):
        if windows * window_size < front + size:
            raise ValueError(f'windows must cover pad + {axis} = {front} + {size} pixels, '
                             f'got {windows} windows of window_size {window_size}')


def to_position_dtype(features: Tensor, *tensors: Tensor) -> list[Tensor]:
    """Converts tensors to contiguous tensors in float32, or in float64 for float64 features.

    In half precision, neighboring pixels of large maps would have the same position.
    """
    return [x.to(at_least_float32(features)).contiguous() for x in tensors]


# ---- references


def sample_reference(features: Tensor, scale: Tensor, offset: Tensor, window_size: int, top: int, left: int) -> Tensor:
    """Computes :func:`varied_size_window_sample` in plain PyTorch, in the dtype of ``scale``."""
    if needs_gathers(features, scale, offset):
        tokens = gather_tokens(features, corners(features, scale, offset, window_size, top, left))
        (b, heads), (nh, nw) = features.shape[:2], scale.shape[3:]
        tokens = tokens.view(b, nh, nw, heads, window_size, window_size, features.shape[2])
        return tokens.permute(0, 3, 6, 1, 4, 2, 5).flatten(5, 6).flatten(3, 4)
    grid = sampling_grid(features, scale, offset, window_size, top, left)
    return sample_grid(features, grid.transpose(3, 4).flatten(4, 5).flatten(2, 3))


def sample_windows_reference(k: Tensor, v: Tensor, scale: Tensor, offset: Tensor, window_size: int, top: int,
                             left: int) -> tuple[Tensor, Tensor]:
    """Returns the keys and values of :func:`sample_reference` as windows ``(B * nh * nw, heads, ws * ws, d)``."""
    if needs_gathers(k, v, scale, offset):
        pixels = corners(k, scale, offset, window_size, top, left)
        windows = -1, k.shape[1], window_size**2, k.shape[2]
        return gather_tokens(k, pixels).view(windows), gather_tokens(v, pixels).view(windows)
    grid = sampling_grid(k, scale, offset, window_size, top, left)
    sampled = sample_grid(torch.cat([k, v], 2), grid.flatten(4, 5).flatten(2, 3))
    key, value = sampled.permute(0, 3, 1, 4, 2).flatten(0, 1).chunk(2, dim=3)
    return key, value


def sampling_grid(features: Tensor, scale: Tensor, offset: Tensor, window_size: int, top: int, left: int) -> Tensor:
    """Returns the positions of tokens in the coordinates of ``F.grid_sample``, ``(B, heads, nh, nw, ws, ws, 2)``."""
    x, y = window_positions(scale, offset, window_size, top, left)  # each (B, heads, nh, nw, window_size)
    x, y = normalize(x, features.shape[4]), normalize(y, features.shape[3])
    return torch.stack(torch.broadcast_tensors(x[..., None, :], y[..., :, None]), -1)


def sample_grid(features: Tensor, grid: Tensor) -> Tensor:
    """Samples ``(B, heads, C, H, W)`` at a grid ``(B, heads, h, w, 2)``, which gives ``(B, heads, C, h, w)``."""
    maps = features.flatten(0, 1).to(grid.dtype)
    sampled = F.grid_sample(maps, grid.flatten(0, 1), 'bilinear', 'zeros', align_corners=False)
    return sampled.to(features.dtype).unflatten(0, features.shape[:2])


def needs_gathers(*tensors: Tensor) -> bool:
    """Returns whether :func:`gather_tokens` samples a map instead of ``F.grid_sample``.

    ``F.grid_sample`` has only first derivatives, and no forward mode. On GPUs, its gradients are sums in any order.
    """
    return (is_plain() or is_transformed(*tensors)
            or not tensors[0].is_cpu and torch.are_deterministic_algorithms_enabled())


def corners(features: Tensor, scale: Tensor, offset: Tensor, window_size: int, top: int, left: int
            ) -> list[tuple[Tensor, Tensor]]:
    """Returns the four pixels around each token: rows of :func:`gather_tokens`, and weights in the interpolation.

    Each is ``(B, nh, nw, heads, ws, ws)``, flattened to ``(N, )`` and ``(N, 1)``.
    """
    b, heads, _, height, width = features.shape
    x, y = (position.permute(0, 2, 3, 1, 4) for position in window_positions(scale, offset, window_size, top, left))
    image, head = (torch.arange(n, device=features.device) for n in (b, heads))
    first_row, found = image.view(-1, 1, 1, 1, 1) * height, []
    columns = [((column * heads + head[:, None]).flatten(0, 3), weight.flatten(0, 3))
               for column, weight in neighbors(x, width)]
    for row, weight_y in neighbors(y, height):
        row, weight_y = ((first_row + row) * (width * heads)).flatten(0, 3), weight_y.flatten(0, 3)
        found += [((row[:, :, None] + column[:, None, :]).flatten(),
                   (weight_y[:, :, None] * weight_x[:, None, :]).flatten()[:, None])
                  for column, weight_x in columns]
    return found


def gather_tokens(features: Tensor, pixels: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Interpolates tokens from their :func:`corners`, which gives ``(N, C)``.

    Pixels are rows of C values, so that the output of a projection, ``(B, H, W, heads, C)``, is not transposed.
    """
    rows = features.permute(0, 3, 4, 1, 2).flatten(0, 3).to(pixels[0][1].dtype)
    weighted = [weight * rows.index_select(0, index) for index, weight in pixels]
    return reduce(operator.add, weighted).to(features.dtype)


def neighbors(position: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    """Returns the pixels before and after positions along an axis, each with its weight in linear interpolation.

    A pixel outside the axis is replaced by the closest one of the axis, with a weight of 0.
    """
    position = clamp_positions(position, size)
    low = position.floor()
    pairs = [(low, 1 - (position - low)), (low + 1, position - low)]
    nearest = [pixel.clamp(0, size - 1) for pixel, _ in pairs]
    return [(index.long(), weight.masked_fill(index != pixel, 0.)) for index, (pixel, weight) in zip(nearest, pairs)]


def window_positions(scale: Tensor, offset: Tensor, window_size: int, top: int, left: int) -> tuple[Tensor, Tensor]:
    """Returns x of the token columns and y of the token rows in pixels, ``(B, heads, nh, nw, window_size)`` each."""
    center = (window_size - 1) / 2
    row, column, token = (torch.arange(n, dtype=scale.dtype, device=scale.device)
                          for n in (*scale.shape[3:], window_size))
    x, y = ((1 + scale[:, :, axis, ..., None]) * (token - center) + offset[:, :, axis, ..., None] for axis in (0, 1))
    return column[:, None] * window_size + center - left + x, row[:, None, None] * window_size + center - top + y


def normalize(position: Tensor, size: int) -> Tensor:
    """Converts pixels to the coordinates of ``F.grid_sample``, where -1 and 1 are the outer edges of the map."""
    return (2 * clamp_positions(position, size) + 1) / size - 1


def clamp_positions(position: Tensor, size: int) -> Tensor:
    """Clamps positions to the range from -2 to ``size + 1``, whose ends are outside the map, and replaces NaN by -2."""
    return torch.where(position.isnan(), -2., position).clamp(-2, size + 1)


def attention_reference(q: Tensor, k: Tensor, v: Tensor, scale: Tensor, offset: Tensor, bias_table: Tensor,
                        window_size: int, top: int, left: int, softmax_scale: float) -> Tensor:
    """Computes :func:`varied_size_window_attention` in plain PyTorch."""
    (heads, d, height, width), (nh, nw), ws = q.shape[1:], scale.shape[3:], window_size
    bottom, right = nh * ws - top - height, nw * ws - left - width
    key, value = sample_windows_reference(k, v, scale, offset, ws, top, left)
    # In the layout of the projection, which exported graphs would otherwise transpose to channels first and back.
    query = F.pad(q.permute(0, 3, 4, 1, 2).flatten(3), (0, 0, left, right, top, bottom))
    query = windows_by_head(query, heads, ws).flatten(0, 1)
    out = attend_in_windows(query, key, value, bias_table, (nh, nw), (height, width), ws, top, left, softmax_scale)
    return out.unflatten(-1, (heads, d)).permute(0, 3, 4, 1, 2)


def attend_in_windows(query: Tensor, key: Tensor, value: Tensor, bias_table: Tensor, grid: tuple[int, int],
                      size: tuple[int, int], window_size: int, top: int, left: int, softmax_scale: float) -> Tensor:
    """Attends in windows ``(B * nh * nw, heads, ws * ws, d)`` and merges them into a map ``(B, H, W, heads * d)``."""
    (nh, nw), ws = grid, window_size
    bias = position_bias(bias_table.T, relative_position_index(ws, query.device)).to(query.dtype)
    out = F.scaled_dot_product_attention(query, key, value, bias, scale=softmax_scale)
    out = window_reverse(out.unflatten(0, (-1, nh * nw)), ws, nh * ws, nw * ws)
    return crop(out, *size, top, left)


# ---- backends


def compiled_sample(features: Tensor, scale: Tensor, offset: Tensor, window_size: int, top: int, left: int) -> Tensor:
    return torch.ops.mmvit.vsa_sample(features, scale, offset, window_size=window_size, top=top, left=left)


def attention_with_sampling_in_cuda(q: Tensor, k: Tensor, v: Tensor, **others) -> Tensor:
    qkv = torch.stack([x.permute(0, 3, 4, 1, 2) for x in (q, k, v)], 3)
    out = packed_attention_with_sampling_in_cuda(qkv, **others)
    return out.unflatten(-1, q.shape[1:3]).permute(0, 3, 4, 1, 2)


def packed_attention_with_sampling_in_cuda(qkv: Tensor, scale: Tensor, offset: Tensor, bias_table: Tensor,
                                           window_size: int, top: int, left: int, softmax_scale: float) -> Tensor:
    """Maps a packed projection ``(B, H, W, 3, heads, d)`` to ``(B, H, W, heads * d)``."""
    (height, width), (nh, nw) = qkv.shape[1:3], scale.shape[3:]
    q, k, v = torch.ops.mmvit.vsa_windows(qkv, scale, offset, window_size, top, left)
    return attend_in_windows(q, k, v, bias_table, (nh, nw), (height, width), window_size, top, left, softmax_scale)


def compiled_attention(q: Tensor, k: Tensor, v: Tensor, scale: Tensor, offset: Tensor, bias_table: Tensor,
                       window_size: int, top: int, left: int, softmax_scale: float) -> Tensor:
    out, _ = torch.ops.mmvit.vsa_attention(q, k, v, scale, offset, bias_table, window_size=window_size, top=top,
                                           left=left, softmax_scale=softmax_scale)
    return out


def at_most(largest: int) -> Callable[..., str | None]:
    """Returns the predicate of a kernel for windows of at most ``largest`` tokens along each side."""
    def why_not(window_size: int, **arguments) -> str | None:
        return None if window_size <= largest else f'window_size must be at most {largest}, got {window_size}'
    return why_not


# The largest windows are those of csrc/operators.h. Attention in C++ stores a window's logits.
SAMPLING = Operator(
    'varied-size window sampling', sample_reference, like='features',
    cpp=Kernel(compiled_sample, at_most(256)), cuda=Kernel(compiled_sample, at_most(256)))
ATTENTION = Operator(
    'varied-size window attention', attention_reference, like='q',
    cpp=Kernel(compiled_attention, at_most(32)),
    cuda=Kernel(attention_with_sampling_in_cuda, at_most(256)))
