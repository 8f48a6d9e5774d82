"""Varied-size window attention: every window of every head chooses where and how large it looks.

VSA: Learning Varied-Size Window Attention in Vision Transformers (Zhang et al., ECCV 2022, arXiv 2204.08446), section
3.2. A window of ``ws x ws`` queries attends to ``ws x ws`` keys and values, sampled bilinearly on a grid that an
offset moves and a scale stretches. Kernels are in C++ and CUDA (``csrc/``), and in Triton (``triton/``);
``docs/ops.md`` holds the derivatives.
"""
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import dot_product_attention
from .dispatch import differentiable, operator, why_too_wide
from .eager import is_transformed
from .precision import at_least_float32, product_dtype
from .window import crop, position_bias, window_reverse

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Bytes of one window's sampled keys in accumulators; the backward kernel holds four such arrays in shared memory.
CUDA_WINDOW_BYTES = 20480
TRITON_WINDOW_SIZE = 8  # a window is one block, whose logits are in registers


def varied_size_window_sample(features: Tensor, scale: Tensor, offset: Tensor, window_size: int,
                              pad: tuple[int, int] = (0, 0), backend: str | None = None) -> Tensor:
    """Samples a map at the tokens of windows that moved and changed their size.

    Token (i, j) of window (r, c) looks at the pixel, with ``m = (window_size - 1) / 2``::

        x = c * window_size + m - left + (1 + scale_x) * (j - m) + offset_x
        y = r * window_size + m - top + (1 + scale_y) * (i - m) + offset_y

    and gets the bilinear interpolation of the four pixels around it; pixels outside the map count as 0, and so do
    positions that are not finite. Positions are computed in float32, for float64 features in float64.

    Args:
        features (Tensor): ``(B, heads, C, H, W)``, any strides; channels that are contiguous are the fast case.
            float16, bfloat16, float32 or float64.
        scale (Tensor): ``(B, heads, 2, nh, nw)``, index 0 is x and 1 is y. Tokens are ``1 + scale`` pixels apart.
        offset (Tensor): Like ``scale``, in pixels.
        window_size (int): Tokens along a side of a window.
        pad (tuple[int, int]): Rows and columns of zeros, (top, left), that the grid of windows has before the map.
        backend (str | None): ``'reference'``, ``'cpp'``, ``'cuda'``, ``'triton'``; None: the fastest that can run.

    Returns:
        Tensor: ``(B, heads, C, nh * window_size, nw * window_size)`` in the dtype of ``features``.

    Raises:
        ValueError: If shapes don't fit together or the backend can't run; the message says why.
        TypeError: If ``features`` is not of a floating dtype named above.

    Example:
        >>> import torch
        >>> from mmvit_backbones.ops import varied_size_window_sample
        >>> features, zeros = torch.rand(1, 2, 8, 14, 21), torch.zeros(1, 2, 2, 2, 3)
        >>> sampled = varied_size_window_sample(features, zeros, zeros, window_size=7)
        >>> torch.allclose(sampled, features, atol=1e-5)  # windows that stay where they are
        True
    """
    check_windows('features', features, scale, offset, window_size, pad)
    scale, offset = to_position_dtype(features, scale, offset)
    return sample(features, scale, offset, window_size, *pad, backend=backend)


def varied_size_window_attention(q: Tensor, k: Tensor, v: Tensor, scale: Tensor, offset: Tensor, bias_table: Tensor,
                                 window_size: int, pad: tuple[int, int] = (0, 0), softmax_scale: float | None = None,
                                 backend: str | None = None) -> Tensor:
    """Attends from the tokens of fixed windows to keys and values that :func:`varied_size_window_sample` samples.

    Per window and head ``softmax(softmax_scale * Q K^T + bias) V``. Queries in the padding are zero and their outputs
    dropped; keys that fell outside the map stay, as zeros. The compiled backends save nothing but the
    log-sum-exp of each query for the backward pass.

    Args:
        q, k, v (Tensor): ``(B, heads, d, H, W)`` each, any strides: views of a packed channels-last projection are
            the fast case.
        scale, offset (Tensor): ``(B, heads, 2, nh, nw)`` as in :func:`varied_size_window_sample`; the windows cover
            the padded map: ``nh * window_size >= top + H``, ``nw * window_size >= left + W``.
        bias_table (Tensor): ``((2 * window_size - 1) ** 2, heads)``. A query at (i, j) and a key at (i', j') of a
            window take row ``(i - i' + window_size - 1) * (2 * window_size - 1) + j - j' + window_size - 1``.
        window_size (int): Tokens along a side of a window.
        pad (tuple[int, int]): Virtual zero padding before the map, (top, left).
        softmax_scale (float | None): Factor of the logits; None means ``d ** -0.5``.
        backend (str | None): ``'reference'``, ``'cpp'``, ``'cuda'``, ``'triton'``; None: the fastest that can run.

    Returns:
        Tensor: ``(B, heads, d, H, W)``, laid out as ``(B, H, W, heads, d)``.

    Raises:
        ValueError: If shapes don't fit together or the backend can't run; the message says why.
        TypeError: If ``q`` is not of a floating dtype, or ``k`` and ``v`` of another.

    Example:
        >>> import torch
        >>> from mmvit_backbones.ops import varied_size_window_attention
        >>> qkv = torch.rand(1, 10, 13, 3, 2, 8)  # what a linear layer gives: (B, H, W, 3, heads, d)
        >>> q, k, v = qkv.permute(3, 0, 4, 5, 1, 2)
        >>> scale, offset = 0.1 * torch.randn(2, 1, 2, 2, 3, 4)  # 3 x 4 windows cover 12 x 16 pixels
        >>> varied_size_window_attention(q, k, v, scale, offset, torch.zeros(49, 2), window_size=4).shape
        torch.Size([1, 2, 8, 10, 13])
    """
    check_windows('q', q, scale, offset, window_size, pad)
    check_attention(q, k, v, scale, bias_table, window_size, pad)
    softmax_scale = q.shape[2]**-0.5 if softmax_scale is None else float(softmax_scale)
    scale, offset, bias_table = to_position_dtype(q, scale, offset, bias_table)
    return attend(q, k, v, scale, offset, bias_table, window_size, *pad, softmax_scale, backend=backend)


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
        raise ValueError(f'q, k and v must have one shape, got {tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}')
    if k.dtype != q.dtype or v.dtype != q.dtype:
        raise TypeError(f'q, k and v must have one dtype, got {q.dtype}, {k.dtype}, {v.dtype}')
    if bias_table.shape != ((2 * window_size - 1)**2, q.shape[1]):
        raise ValueError(f'bias_table must be ((2 * window_size - 1) ** 2, heads) = '
                         f'{((2 * window_size - 1)**2, q.shape[1])}, got {tuple(bias_table.shape)}')
    for axis, size, windows, front in zip('HW', q.shape[3:], scale.shape[3:], pad):
        if windows * window_size < front + size:
            raise ValueError(f'{windows} windows of {window_size} do not cover {axis} = {size} after {front} of pad')


def to_position_dtype(features: Tensor, *tensors: Tensor) -> list[Tensor]:
    """Converts positions to 32 bits, or 64 if features have these: half precision merges pixels of large maps."""
    return [x.to(at_least_float32(features)).contiguous() for x in tensors]


# ---- formulas


def sample_formula(features: Tensor, scale: Tensor, offset: Tensor, window_size: int, top: int, left: int) -> Tensor:
    """Samples by ``grid_sample``, in the dtype of ``scale``."""
    x, y = window_positions(scale, offset, window_size, top, left)  # each (B, heads, nh, nw, window_size)
    if is_transformed():
        return sample_pixels(features, x, y)
    x, y = normalize(x, features.shape[4]), normalize(y, features.shape[3])
    grid = torch.stack(torch.broadcast_tensors(x[..., None, :], y[..., :, None]), -1)
    grid = grid.transpose(3, 4).flatten(4, 5).flatten(2, 3).flatten(0, 1)  # (B * heads, nh * ws, nw * ws, 2)
    sampled = F.grid_sample(features.flatten(0, 1).to(grid.dtype), grid, 'bilinear', 'zeros', align_corners=False)
    return sampled.to(features.dtype).unflatten(0, features.shape[:2])


def sample_pixels(features: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Samples pixel by pixel, with derivatives of every order and mode; ``grid_sample`` has first ones alone.

    Args:
        features (Tensor): ``(B, heads, C, H, W)``.
        x, y (Tensor): Columns and rows that tokens look at, ``(B, heads, nh, nw, window_size)``.

    Returns:
        Tensor: ``(B, heads, C, nh * window_size, nw * window_size)``.
    """
    height, width = features.shape[3:]
    pixels = features.flatten(3).to(x.dtype)
    sampled = 0
    for row, row_weight in neighbors(y, height):
        for column, column_weight in neighbors(x, width):
            index = (row[..., :, None] * width + column[..., None, :]).flatten(2)  # (B, heads, tokens of all windows)
            weight = (row_weight[..., :, None] * column_weight[..., None, :]).flatten(2)
            sampled += pixels.gather(3, index[:, :, None].expand(-1, -1, pixels.shape[2], -1)) * weight[:, :, None]
    sampled = sampled.unflatten(3, (*x.shape[2:], x.shape[4]))  # (B, heads, C, nh, nw, window_size, window_size)
    return sampled.transpose(4, 5).flatten(5).flatten(3, 4).to(features.dtype)


def neighbors(position: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields the pixel on either side of every position of an axis, and its weight, 0 outside of the map."""
    position = clamp_positions(position, size)
    first = position.detach().floor()
    for pixel, weight in ((first, 1 - (position - first)), (first + 1, position - first)):
        inside = (pixel >= 0) & (pixel < size)
        yield pixel.clamp(0, size - 1).long(), weight * inside


def window_positions(scale: Tensor, offset: Tensor, window_size: int, top: int, left: int) -> tuple[Tensor, Tensor]:
    """Pixels that windows look at: x by column and y by row of tokens, each ``(B, heads, nh, nw, window_size)``."""
    center = (window_size - 1) / 2
    row, column, token = (torch.arange(n, dtype=scale.dtype, device=scale.device)
                          for n in (*scale.shape[3:], window_size))
    token = (1 + scale[..., None]) * (token - center) + offset[..., None]  # (B, heads, 2, nh, nw, window_size)
    return (column[:, None] * window_size + center - left + token[:, :, 0],
            row[:, None, None] * window_size + center - top + token[:, :, 1])


def normalize(position: Tensor, size: int) -> Tensor:
    """Pixels to the units of ``grid_sample``, where -1 and 1 are the outer edges of the map."""
    return (2 * clamp_positions(position, size) + 1) / size - 1


def clamp_positions(position: Tensor, size: int) -> Tensor:
    """Clamps to -2 and ``size + 1``, from where on all is outside; so is what is not finite."""
    return torch.where(position.isnan(), -2., position).clamp(-2, size + 1)


def attention_formula(q: Tensor, k: Tensor, v: Tensor, scale: Tensor, offset: Tensor, bias_table: Tensor,
                      window_size: int, top: int, left: int, softmax_scale: float) -> Tensor:
    """Samples, then attends window by window."""
    (b, heads, d, height, width), (nh, nw), ws = q.shape, scale.shape[3:], window_size
    bottom, right = nh * ws - top - height, nw * ws - left - width

    def windows(x: Tensor) -> Tensor:
        """Maps (B, heads, C, nh * ws, nw * ws) to (B * nh * nw, heads, ws * ws, C)."""
        x = x.unflatten(4, (nw, ws)).unflatten(3, (nh, ws)).permute(0, 3, 5, 1, 4, 6, 2)
        return x.reshape(b * nh * nw, heads, ws * ws, x.shape[6])

    key, value = windows(sample_formula(torch.cat([k, v], 2), scale, offset, ws, top, left)).split(d, -1)
    query = windows(F.pad(q, (left, right, top, bottom)))
    bias = position_bias(bias_table.T, ws).to(query.dtype)
    out = dot_product_attention(query, key, value, bias, softmax_scale)
    out = window_reverse(out.unflatten(0, (b, nh * nw)), ws, nh * ws, nw * ws)
    return crop(out, height, width, top, left).unflatten(-1, (heads, d)).permute(0, 3, 4, 1, 2)


# ---- Triton


def sample_forward(features: Tensor, *others) -> tuple[Tensor]:
    from .triton import window_sampling
    return window_sampling.sample(features, *others),


def sample_backward(arguments: list, outputs: tuple, grad: Tensor) -> tuple[Tensor, ...]:
    from .triton.window_sampling import grad_pixels, slopes, stored
    (features, *windows), grad = arguments, stored(grad)
    grad_features = grad_pixels(grad[None], *windows[:2], *features.shape[3:], *windows[2:])
    return grad_features[0], *slopes(features, grad, *windows)


def attention_forward(*arguments) -> tuple[Tensor, Tensor]:
    from .triton import varied_size_window
    return varied_size_window.attention(*arguments)


def attention_backward(arguments: list, outputs: tuple, grad: Tensor) -> tuple[Tensor, ...]:
    from .triton import varied_size_window, window_sampling
    *tensors, window_size, top, left, softmax_scale = arguments
    (q, _, _, scale, offset, _), (_, lse) = tensors, outputs
    grad_q, tokens, grad_scale, grad_offset, tables = varied_size_window.grad(
        window_sampling.stored(grad), *tensors, lse, window_size, top, left, softmax_scale)
    grad_k, grad_v = window_sampling.grad_pixels(tokens, scale, offset, *q.shape[3:], window_size, top, left).unbind(0)
    return grad_q, grad_k, grad_v, grad_scale, grad_offset, tables.sum(0).T


attention_kernels = differentiable(attention_forward, attention_backward)


def attention_on_triton(q: Tensor, k: Tensor, v: Tensor, *others) -> Tensor:
    """Runs in the dtype of autocast."""
    return attention_kernels(*(x.to(product_dtype(x)) for x in (q, k, v)), *others)


# ---- backends


def sample_example(randn: Callable) -> list[tuple]:
    """Returns windows that are partly outside."""
    features, scale, offset = randn(2, 2, 32, 9, 12), randn(2, 2, 2, 2, 2) / 4, 2 * randn(2, 2, 2, 2, 2)
    return [(features, *to_position_dtype(features, scale, offset), 7, 0, 0)]


def attention_example(randn: Callable) -> list[tuple]:
    """Returns attention's arguments for the same windows."""
    (k, *windows), = sample_example(randn)
    bias_table, = to_position_dtype(k, randn(13**2, 2))
    return [(k, randn(*k.shape), randn(*k.shape), *windows[:2], bias_table, *windows[2:], 0.2)]


def why_not(backend: str, features: Tensor, *others) -> str | None:
    channels, size = features.shape[2], 8 if features.dtype == torch.float64 else 4
    window_size = next(x for x in others if not torch.is_tensor(x))
    if backend == 'cuda' and window_size**2 * channels * size > CUDA_WINDOW_BYTES:
        return f'{window_size} x {window_size} tokens of {channels} channels exceed shared memory'
    if backend == 'triton' and window_size > TRITON_WINDOW_SIZE:
        return f'windows must have at most {TRITON_WINDOW_SIZE} x {TRITON_WINDOW_SIZE} tokens, got {window_size}'
    return why_too_wide(backend, channels)


def compiled_sample(*arguments) -> Tensor:
    return torch.ops.mmvit.vsa_sample(*arguments)


def compiled_attention(*arguments) -> Tensor:
    return torch.ops.mmvit.vsa_attention(*arguments)[0]


sample = operator('varied-size window sampling', sample_formula, sample_example, why_not, cpp=compiled_sample,
                  cuda=compiled_sample, triton=differentiable(sample_forward, sample_backward))
attend = operator('varied-size window attention', attention_formula, attention_example, why_not, cpp=compiled_attention,
                  cuda=compiled_attention, triton=attention_on_triton)
