"""Varied-size window attention: every window of every head chooses where and how large it looks.

VSA: Learning Varied-Size Window Attention in Vision Transformers (Zhang et al., ECCV 2022, arXiv 2204.08446), section
3.2. A window of ``ws x ws`` queries attends to ``ws x ws`` keys and values, sampled bilinearly on a grid that an
offset moves and a scale stretches. The functions below check their arguments and hand them to one of four backends,
which agree: ``reference`` (plain PyTorch, the rest of this file), ``cpp`` and ``cuda`` (``csrc/``), and ``triton``
(``kernels/``). ``docs/ops.md`` holds the derivatives.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from . import backends, kernels, library
from .batched import sum_parts
from .precision import at_least_float32, product_dtype, without_autocast
from .window import crop, relative_position_index, window_reverse

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
BACKENDS = ('reference', 'cpp', 'cuda', 'triton')
# Bytes of one window's sampled keys in accumulators; the backward kernel holds four such arrays in shared memory.
CUDA_WINDOW_BYTES = 20480


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
    backend = choose_backend(backend, features, window_size)
    if backend == 'reference':
        return reference_sample(features, scale, offset, window_size, pad)
    if backend == 'triton':
        return _TritonSample.apply(features, scale, offset, window_size, *pad)
    return torch.ops.mmvit.vsa_sample(features, scale, offset, window_size, *pad)


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
    backend = choose_backend(backend, q, window_size)
    if backend == 'reference':
        return reference_attention(q, k, v, scale, offset, bias_table, window_size, pad, softmax_scale)
    if backend == 'triton':
        return triton_attention(scale, offset, bias_table, window_size, pad, softmax_scale, q, k, v)
    out, _ = torch.ops.mmvit.vsa_attention(q, k, v, scale, offset, bias_table, window_size, *pad, softmax_scale)
    return out


def packed_attention(qkv: Tensor, scale: Tensor, offset: Tensor, bias_table: Tensor, window_size: int,
                     pad: tuple[int, int], softmax_scale: float) -> Tensor:
    """:func:`varied_size_window_attention` of a packed projection ``(B, H, W, 3, heads, d)``, for layers.

    Triton's kernels write its gradient whole; those of three views would have to be put together.
    """
    q, k, v = unpack(qkv)
    if choose_backend(None, q, window_size) != 'triton':
        return varied_size_window_attention(q, k, v, scale, offset, bias_table, window_size, pad, softmax_scale)
    positions = to_position_dtype(q, scale, offset, bias_table)
    return triton_attention(*positions, window_size, pad, softmax_scale, qkv)


def unpack(qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``(B, H, W, 3, heads, d)`` to three views ``(B, heads, d, H, W)``."""
    return qkv.permute(3, 0, 4, 5, 1, 2).unbind(0)


# ---- checks and choice


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
    """Half precision cannot tell pixels apart on large maps: positions have 32 bits, or 64 if features do."""
    return [x.to(at_least_float32(features), memory_format=torch.contiguous_format) for x in tensors]


def choose_backend(backend: str | None, features: Tensor, window_size: int) -> str:
    """The backend to run, from what is asked for and what can run."""
    if backend is None:
        if backends.is_plain or torch.onnx.is_in_onnx_export():
            return 'reference'
        # Tensors on the meta device are dispatched as on a GPU: the library's operators have fake implementations.
        candidates = {'cpu': ['cpp'], 'cuda': ['cuda', 'triton'], 'meta': ['triton']}.get(features.device.type, [])
        if backends.is_exporting():
            candidates = [name for name in candidates if name != 'triton']  # whose kernels no exported program holds
        for backend in candidates:
            if why_not(backend, features, window_size) is None:
                return backend if is_trusted(backend, features) else 'reference'
        if features.is_meta and library.MISSING['cpp'] is None:
            return 'cuda'
        if candidates and not torch.compiler.is_compiling():
            library.log_missing(candidates[0])
        return 'reference'
    if backend not in BACKENDS:
        raise ValueError(f'backend must be one of {BACKENDS} or None, got {backend!r}')
    reason = why_not(backend, features, window_size)
    if reason is not None:
        raise ValueError(f'backend {backend!r} cannot run: {reason}')
    return backend


def why_not(backend: str, features: Tensor, window_size: int) -> str | None:
    """Why a backend can't run on such features, or None if it can."""
    if backend == 'reference':
        return None
    if backend == 'triton':
        return backends.why_not_triton(features, features.shape[2])
    if library.MISSING[backend] is not None:
        return library.MISSING[backend]
    device = 'cpu' if backend == 'cpp' else 'cuda'
    if features.device.type != device:
        return f'it needs tensors on {device}, got {features.device}'
    window_bytes = window_size**2 * features.shape[2] * (8 if features.dtype == torch.float64 else 4)
    if backend == 'cuda' and window_bytes > CUDA_WINDOW_BYTES:
        return f'{window_size} x {window_size} tokens of {features.shape[2]} channels exceed shared memory'
    return None


def is_trusted(backend: str, features: Tensor) -> bool:
    """Whether a backend for GPUs agrees with the reference on them; float64 has nothing to be compared with."""
    if backend == 'cpp' or features.is_meta or features.dtype not in backends.TOLERANCES:
        return True
    return backends.why_not_trusted(f'varied-size window attention ({backend})', example, features.device,
                                    features.dtype, backend) is None


def example(backend: str, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Outputs and gradients on small inputs, whose windows are partly outside; one or several blocks of tokens each."""
    backend, results = 'reference' if backend == 'torch' else backend, []
    for window_size, grid in ((7, (2, 2)), (9, (1, 2))):
        inputs = backends.example_inputs(device, dtype, *[(2, 2, 32, 9, 12)] * 3, *[(2, 2, 2, *grid)] * 2,
                                         ((2 * window_size - 1)**2, 2))
        q, k, v, scale, offset, bias_table = inputs
        windows = 0.3 * scale, 2 * offset
        out = varied_size_window_attention(q, k, v, *windows, bias_table, window_size, (0, 0), 0.2, backend)
        sampled = varied_size_window_sample(k, *windows, window_size, (0, 0), backend)
        loss = out.square().sum() + sampled.square().sum()
        results += [out, sampled, *torch.autograd.grad(loss, inputs)]
    return results


# ---- Triton


def triton_attention(scale: Tensor, offset: Tensor, bias_table: Tensor, window_size: int, pad: tuple[int, int],
                     softmax_scale: float, *maps: Tensor) -> Tensor:
    """``maps`` are q, k and v, or one packed projection; they run in the dtype of autocast."""
    maps = [x.to(product_dtype(x)) for x in maps]
    with without_autocast(maps[0].device.type):
        return _TritonAttention.apply(scale, offset, bias_table, window_size, *pad, softmax_scale, *maps)


class _TritonSample(torch.autograd.Function):

    @staticmethod
    def forward(ctx, features: Tensor, scale: Tensor, offset: Tensor, *window: int) -> Tensor:
        ctx.save_for_backward(features, scale, offset)
        ctx.window = window
        return kernels.window_sampling.sample(features, scale, offset, *window)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple:
        features, scale, offset = ctx.saved_tensors
        slopes = kernels.window_sampling.slopes(features, grad, scale, offset, *ctx.window)
        grad_features = torch.empty_like(features)
        kernels.window_sampling.grad_pixels(grad[None], scale, offset, grad_features[None], *ctx.window)
        return grad_features, *map(sum_parts, slopes), None, None, None


class _TritonAttention(torch.autograd.Function):

    @staticmethod
    def forward(ctx, scale: Tensor, offset: Tensor, bias_table: Tensor, window_size: int, top: int, left: int,
                softmax_scale: float, *maps: Tensor) -> Tensor:
        ctx.constants = window_size, top, left, softmax_scale
        q, k, v = maps if len(maps) == 3 else unpack(*maps)
        out, lse = kernels.varied_size_window.attention(q, k, v, scale, offset, bias_table, *ctx.constants)
        ctx.save_for_backward(scale, offset, bias_table, lse, *maps)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple:
        scale, offset, bias_table, lse, *maps = ctx.saved_tensors
        window_size, top, left, softmax_scale = ctx.constants
        q, k, v = maps if len(maps) == 3 else unpack(*maps)
        packed = q.new_empty((q.shape[0], *q.shape[3:], 3, *q.shape[1:3]))
        grads = packed.permute(3, 0, 4, 5, 1, 2)
        inputs = grad, q, k, v, scale, offset, bias_table, lse, grads[0]
        delta = None
        if kernels.window_sampling.num_blocks(window_size) > 1:
            delta = kernels.varied_size_window.grad_rows(*inputs, *ctx.constants)
        tokens, *slopes, tables = kernels.varied_size_window.grad_windows(*inputs, delta, *ctx.constants)
        kernels.window_sampling.grad_pixels(tokens, scale, offset, grads[1:], window_size, top, left)
        return (*map(sum_parts, slopes), tables.sum((0, 2)).T, None, None, None, None,
                *(grads if len(maps) == 3 else [packed]))


# ---- the reference


def reference_sample(features: Tensor, scale: Tensor, offset: Tensor, window_size: int, pad: tuple[int, int]) -> Tensor:
    """Sampling by ``grid_sample``, in the dtype of ``scale``."""
    x, y = window_positions(scale, offset, window_size, pad)
    x, y = normalize(x, features.shape[4]), normalize(y, features.shape[3])
    b, heads, nh, nw, ws = x.shape
    grid = torch.stack(torch.broadcast_tensors(x[:, :, :, :, None, :], y[:, :, :, :, :, None]), -1)
    grid = grid.transpose(3, 4).reshape(b * heads, nh * ws, nw * ws, 2)
    sampled = F.grid_sample(features.flatten(0, 1).to(grid.dtype), grid, 'bilinear', 'zeros', align_corners=False)
    return sampled.to(features.dtype).unflatten(0, (b, heads))


def window_positions(scale: Tensor, offset: Tensor, window_size: int, pad: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Pixels that windows look at: x by column and y by row of tokens, each ``(B, heads, nh, nw, window_size)``."""
    nh, nw = scale.shape[3:]
    center = (window_size - 1) / 2
    token = torch.arange(window_size, dtype=scale.dtype, device=scale.device) - center
    row = torch.arange(nh, dtype=scale.dtype, device=scale.device) * window_size + center - pad[0]
    column = torch.arange(nw, dtype=scale.dtype, device=scale.device) * window_size + center - pad[1]
    spacing, offset = 1 + scale[..., None], offset[..., None]
    x = column[:, None] + spacing[:, :, 0] * token + offset[:, :, 0]
    y = row[:, None, None] + spacing[:, :, 1] * token + offset[:, :, 1]
    return x, y


def normalize(position: Tensor, size: int) -> Tensor:
    """Pixels to the units of ``grid_sample``, where -1 and 1 are the outer edges of the map.

    From -2 and ``size + 1`` on, all is outside; so is what is not finite.
    """
    position = torch.where(position.isnan(), -2., position).clamp(-2, size + 1)
    return (2 * position + 1) / size - 1


def reference_attention(q: Tensor, k: Tensor, v: Tensor, scale: Tensor, offset: Tensor, bias_table: Tensor,
                        window_size: int, pad: tuple[int, int], softmax_scale: float) -> Tensor:
    """Sampling, then attention window by window."""
    (b, heads, d, height, width), (nh, nw), ws = q.shape, scale.shape[3:], window_size
    (top, left), bottom, right = pad, nh * ws - pad[0] - height, nw * ws - pad[1] - width

    def windows(x: Tensor) -> Tensor:
        """(B, heads, C, nh * ws, nw * ws) -> (B * nh * nw, heads, ws * ws, C)."""
        x = x.unflatten(4, (nw, ws)).unflatten(3, (nh, ws)).permute(0, 3, 5, 1, 4, 6, 2)
        return x.reshape(b * nh * nw, heads, ws * ws, x.shape[6])

    key, value = windows(reference_sample(torch.cat([k, v], 2), scale, offset, ws, pad)).split(d, -1)
    query = windows(F.pad(q, (left, right, top, bottom)))
    bias = bias_table.T[:, relative_position_index(ws, q.device)].to(query.dtype)
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=softmax_scale)
    out = window_reverse(out.unflatten(0, (b, nh * nw)), ws, nh * ws, nw * ws)
    return crop(out, height, width, top, left).unflatten(-1, (heads, d)).permute(0, 3, 4, 1, 2)
