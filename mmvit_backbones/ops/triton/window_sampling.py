"""Triton kernels of :func:`mmvit_backbones.ops.varied_size_window.varied_size_window_sample`.

In the backward pass, the gradient of a pixel is a weighted sum over tokens. A token at distance ``a < 1`` along x and
``b < 1`` along y has the weight ``(1 - a) (1 - b)``, as in bilinear interpolation. Tokens are sorted by the pixel
before their position. The tokens near a row of pixels are then two ranges of the sorted tokens, which a program adds in
this order and without atomic operations, so that results are deterministic.

Each program processes one window of one head, in the order ``(B, nh, nw, heads)``, except in ``_pixels_kernel``, where
it processes consecutive pixels of a map. Input maps ``(B, heads, d, H, W)`` may have any strides; other maps are stored
as ``(B, H, W, heads, d)`` (see :func:`empty_map`). Scale and offset are contiguous.
"""
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .autograd import differentiable
from .blocks import dot
from .launch import block_of, jit, kernel_operator, launch, num_blocks, with_strides

TOKENS_PER_STEP = tl.constexpr(16)  # because a whole window would need too many registers
PIXELS = tl.constexpr(64)  # per program that computes gradients of pixels


@jit
def strided_head(x, x_b, x_h, x_d, x_y, x_x, image, head):
    """Returns a pointer to the map of one head in ``(B, heads, d, H, W)``, and its strides along d, y and x."""
    return x + image.to(tl.int64) * x_b + head.to(tl.int64) * x_h, x_d, x_y, x_x


@jit
def stored_head(x, image, head, heads, height, width, d):
    """Returns :func:`strided_head` of a map that is stored as ``(B, H, W, heads, d)``."""
    return x + (image.to(tl.int64) * height * width * heads + head) * d, 1, width * heads * d, heads * d


@jit
def _at(x, row, column, channels):
    """Returns pointers ``(tokens, channels)`` to a pixel per token in a :func:`strided_head`."""
    first, x_d, x_y, x_x = x
    return (first + row.to(tl.int64) * x_y + column.to(tl.int64) * x_x)[:, None] + (channels * x_d)[None, :]


@jit
def load_pixels(x, row, column, valid, channels, d):
    """Loads one pixel per token, ``(tokens, channels)``, with zeros for invalid tokens."""
    return tl.load(_at(x, row, column, channels), mask=valid[:, None] & (channels < d)[None, :], other=0.)


@jit
def store_pixels(x, row, column, valid, channels, d, block):
    """Stores one pixel per valid token, as :func:`load_pixels` loads them."""
    tl.store(_at(x, row, column, channels), block.to(x[0].dtype.element_ty),
             mask=valid[:, None] & (channels < d)[None, :])


@jit
def _axis(scale, offset, index, window, pad, WINDOW: tl.constexpr):
    """Returns the center of a window along an axis, and the spacing of its tokens, in pixels."""
    center = (window * WINDOW - pad).to(tl.float32) + (WINDOW - 1) / 2
    return center + tl.load(offset + index), 1 + tl.load(scale + index)


@jit
def find_window(heads, rows, columns):
    """Returns image, row, column and head of the program's window, and the index of its scale and offset along x.

    This function must not take pointers. Otherwise torch.compile would assume that the kernel writes to their tensors,
    because the addresses of the results depend on the returned values.
    """
    window = tl.program_id(0)
    image, row = window // heads // columns // rows, window // heads // columns % rows
    column, head = window // heads % columns, window % heads
    return image, row, column, head, _parameters(image, row, column, head, heads, rows, columns)


@jit
def _parameters(image, row, column, head, heads, rows, columns):
    """Returns the index of a window's x in scale and offset, which are contiguous ``(B, heads, 2, rows, columns)``."""
    return ((image.to(tl.int64) * heads + head) * 2 * rows + row) * columns + column


@jit
def find_place(scale, offset, index, row, column, rows, columns, top, left, WINDOW: tl.constexpr):
    """Returns center and spacing of a window along y, then along x.

    The distance between the x and y parameters of a window is ``rows * columns`` elements.
    """
    y, spacing_y = _axis(scale, offset, index + rows * columns, row, top, WINDOW)
    x, spacing_x = _axis(scale, offset, index, column, left, WINDOW)
    return y, spacing_y, x, spacing_x


@jit
def positions(token, row, column, WINDOW: tl.constexpr):
    """Returns rows and columns of a window's tokens in the map of all tokens."""
    return row * WINDOW + token // WINDOW, column * WINDOW + token % WINDOW


@jit
def _distance(token, WINDOW: tl.constexpr):
    """Returns the signed distances of tokens from the center of their window along y and x, in tokens."""
    return (token // WINDOW).to(tl.float32) - (WINDOW - 1) / 2, (token % WINDOW).to(tl.float32) - (WINDOW - 1) / 2


@jit
def _tap(position, size):
    """Returns the pixel before a position, and their distance.

    The pixel is -2 if the position is not finite or not within one pixel of the map.
    """
    near = (position >= -1) & (position < size)
    low = tl.floor(tl.where(near, position, -2.))
    return low.to(tl.int32), tl.where(near, position - low, 0.)


@jit
def _taps(place, token, size, WINDOW: tl.constexpr):
    """Returns :func:`_tap` of the tokens along y, then along x."""
    y, spacing_y, x, spacing_x = place
    distance_y, distance_x = _distance(token, WINDOW)
    row, fy = _tap(y + spacing_y * distance_y, size[0])
    column, fx = _tap(x + spacing_x * distance_x, size[1])
    return row, fy, column, fx


@jit
def _corner(x, row, column, valid, channels, size):
    """Loads one pixel per token in float32, with zeros outside the map; ``size`` is (height, width, channels)."""
    height, width, d = size
    inside = valid & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return load_pixels(x, row, column, inside, channels, d).to(tl.float32)


@jit
def _sample(x, taps, valid, channels, size):
    """Returns bilinearly interpolated tokens in float32."""
    row, fy, column, fx = taps
    total = ((1 - fy) * (1 - fx))[:, None] * _corner(x, row, column, valid, channels, size)
    total += ((1 - fy) * fx)[:, None] * _corner(x, row, column + 1, valid, channels, size)
    total += (fy * (1 - fx))[:, None] * _corner(x, row + 1, column, valid, channels, size)
    return total + (fy * fx)[:, None] * _corner(x, row + 1, column + 1, valid, channels, size)


@jit
def sample_both(k, v, place, token, channels, size, WINDOW: tl.constexpr):
    """Returns the sampled keys and values, in the dtypes of their maps."""
    taps, valid = _taps(place, token, size, WINDOW), token < WINDOW * WINDOW
    keys = _sample(k, taps, valid, channels, size).to(k[0].dtype.element_ty)
    return keys, _sample(v, taps, valid, channels, size).to(v[0].dtype.element_ty)


@jit
def _grad_position(x, taps, valid, channels, size, grad):
    """Returns the gradients of token positions along y and x, computed from the gradients of sampled tokens."""
    row, fy, column, fx = taps
    a = tl.sum(_corner(x, row, column, valid, channels, size) * grad, 1)
    b = tl.sum(_corner(x, row, column + 1, valid, channels, size) * grad, 1)
    grad_y, grad_x = -(1 - fx) * a - fx * b, (1 - fy) * (b - a)
    a = tl.sum(_corner(x, row + 1, column, valid, channels, size) * grad, 1)
    b = tl.sum(_corner(x, row + 1, column + 1, valid, channels, size) * grad, 1)
    return grad_y + (1 - fx) * a + fx * b, grad_x + fy * (b - a)


@jit
def _add_grad_scale_offset(features, grad, place, row, column, channels, size, sums, WINDOW: tl.constexpr):
    """Adds the gradients of a window's scale and offset to ``sums``.

    ``sums`` holds the gradients of offset and scale along y, then along x, each as ``TOKENS_PER_STEP`` partial sums.
    """
    offset_y, scale_y, offset_x, scale_x = sums
    for first in range(0, WINDOW * WINDOW, TOKENS_PER_STEP):
        token = first + tl.arange(0, TOKENS_PER_STEP)
        valid = token < WINDOW * WINDOW
        y, x = positions(token, row, column, WINDOW)
        g = load_pixels(grad, y, x, valid, channels, size[2]).to(tl.float32)
        grad_y, grad_x = _grad_position(features, _taps(place, token, size, WINDOW), valid, channels, size, g)
        distance_y, distance_x = _distance(token, WINDOW)
        offset_y += grad_y
        scale_y += grad_y * distance_y
        offset_x += grad_x
        scale_x += grad_x * distance_x
    return offset_y, scale_y, offset_x, scale_x


@jit
def _sample_kernel(features, f_b, f_h, f_d, f_y, f_x, scale, offset, out, heads, height, width, rows, columns, top,
                   left, d: tl.constexpr, WINDOW: tl.constexpr, BLOCK_D: tl.constexpr):
    image, row, column, head, index = find_window(heads, rows, columns)
    place = find_place(scale, offset, index, row, column, rows, columns, top, left, WINDOW)
    features = strided_head(features, f_b, f_h, f_d, f_y, f_x, image, head)
    out = stored_head(out, image, head, heads, rows * WINDOW, columns * WINDOW, d)
    size, channels = (height, width, d), tl.arange(0, BLOCK_D)
    for first in range(0, WINDOW * WINDOW, TOKENS_PER_STEP):
        token = first + tl.arange(0, TOKENS_PER_STEP)
        valid = token < WINDOW * WINDOW
        y, x = positions(token, row, column, WINDOW)
        result = _sample(features, _taps(place, token, size, WINDOW), valid, channels, size)
        store_pixels(out, y, x, valid, channels, d, result)


@jit
def _grad_scale_offset_kernel(k, k_b, k_h, k_d, k_y, k_x, v, v_b, v_h, v_d, v_y, v_x, grad, scale, offset, grad_scale,
                              grad_offset, images, heads, height, width, rows, columns, top, left, d: tl.constexpr,
                              BOTH: tl.constexpr, WINDOW: tl.constexpr, BLOCK_D: tl.constexpr):
    """Computes the gradients of scale and offset from the gradients of one or two sampled maps."""
    image, row, column, head, index = find_window(heads, rows, columns)
    place = find_place(scale, offset, index, row, column, rows, columns, top, left, WINDOW)
    size, channels = (height, width, d), tl.arange(0, BLOCK_D)
    zero = tl.zeros((TOKENS_PER_STEP,), tl.float32)
    sums = _add_grad_scale_offset(
        strided_head(k, k_b, k_h, k_d, k_y, k_x, image, head),
        stored_head(grad, image, head, heads, rows * WINDOW, columns * WINDOW, d), place, row, column,
        channels, size, (zero, zero, zero, zero), WINDOW)
    if BOTH:
        sums = _add_grad_scale_offset(
            strided_head(v, v_b, v_h, v_d, v_y, v_x, image, head),
            stored_head(grad, image + images, head, heads, rows * WINDOW, columns * WINDOW, d), place,
            row, column, channels, size, sums, WINDOW)
    offset_y, scale_y, offset_x, scale_x = sums
    next_axis = rows * columns
    tl.store(grad_scale + index, tl.sum(scale_x))
    tl.store(grad_scale + index + next_axis, tl.sum(scale_y))
    tl.store(grad_offset + index, tl.sum(offset_x))
    tl.store(grad_offset + index + next_axis, tl.sum(offset_y))


@jit
def _keys_kernel(scale, offset, keys, heads, height, width, rows, columns, top, left, WINDOW: tl.constexpr):
    """Stores the index of the pixel before each token, in a map with a row above and a column left of the image.

    Tokens that are not within one pixel of the image get the number of these pixels.
    """
    image, row, column, head, index = find_window(heads, rows, columns)
    place = find_place(scale, offset, index, row, column, rows, columns, top, left, WINDOW)
    keys += (image * heads + head).to(tl.int64) * (rows * columns * WINDOW * WINDOW)
    for first in range(0, WINDOW * WINDOW, TOKENS_PER_STEP):
        token = first + tl.arange(0, TOKENS_PER_STEP)
        low_y, _, low_x, _ = _taps(place, token, (height, width), WINDOW)
        key = tl.where((low_y >= -1) & (low_x >= -1), _key(low_y, low_x, width), (height + 1) * (width + 1))
        y, x = positions(token, row, column, WINDOW)
        tl.store(keys + y * (columns * WINDOW) + x, key, mask=token < WINDOW * WINDOW)


@jit
def _key(y, x, width):
    """Returns the index of a pixel in a map with a row above and a column left of the image."""
    return (y + 1) * (width + 1) + x + 1


@jit
def _find(keys, count, wanted):
    """Returns, for each wanted key, the number of sorted keys that are smaller."""
    low, high = tl.zeros_like(wanted), tl.zeros_like(wanted) + count
    steps = 1
    while steps <= count:
        middle = (low + high) // 2
        open_ = low < high
        smaller = open_ & (tl.load(keys + middle, mask=open_, other=0) < wanted)
        low, high = tl.where(smaller, middle + 1, low), tl.where(smaller, high, middle)
        steps *= 2
    return low


@jit
def _triangle(position, pixel):
    """Returns the weights of pixels in the interpolation at positions along an axis, ``(pixels, positions)``."""
    apart = tl.abs(position[None, :] - pixel[:, None].to(tl.float32))
    return tl.where(apart < 1, 1 - apart, 0.)


@jit
def _pixels_kernel(tokens, keys, order, scale, offset, out, images, blocks, heads, height, width, rows, columns, top,
                   left, d: tl.constexpr, WINDOW: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr):
    """Computes the gradients of consecutive pixels, as weighted sums of the gradients of tokens.

    ``tokens`` and ``out`` hold several maps with the same windows. ``image`` is an index over maps and batch.
    """
    plane, first = tl.program_id(0) // blocks, tl.program_id(0) % blocks * PIXELS
    image, head = plane // heads, plane % heads
    count, tokens_x = rows * columns * WINDOW * WINDOW, columns * WINDOW
    tokens = stored_head(tokens, image, head, heads, rows * WINDOW, tokens_x, d)
    out = stored_head(out, image, head, heads, height, width, d)
    sorted_plane = (image % images * heads + head).to(tl.int64) * count
    keys, order = keys + sorted_plane, order + sorted_plane
    pixel, channels = first + tl.arange(0, PIXELS), tl.arange(0, BLOCK_D)
    pixel_y, pixel_x = pixel // width, pixel % width
    # A token contributes if the pixel before it is one of these pixels, or above, left, or above left of one.
    last = tl.minimum(first + PIXELS, height * width) - 1
    start = _key(first // width, first % width, width) - 1
    end = _key(last // width, last % width, width) + 1
    number = tl.arange(0, 4)
    above = tl.where(number == 0, start - width - 1, tl.minimum(end - width - 1, start))
    found = _find(keys, count, tl.where(number < 2, above, tl.where(number == 2, start, end)))
    result = tl.zeros((PIXELS, BLOCK_D), tl.float32)
    for part in tl.static_range(2):
        begin = tl.sum(tl.where(number == 2 * part, found, 0))
        stop = tl.sum(tl.where(number == 2 * part + 1, found, 0))
        for at in range(begin, stop, BLOCK_N):
            index = at + tl.arange(0, BLOCK_N)
            valid = index < stop
            token = tl.load(order + index, mask=valid, other=0).to(tl.int32)
            token_y, token_x = token // tokens_x, token % tokens_x
            row, column = token_y // WINDOW, token_x // WINDOW
            place = _parameters(image % images, row, column, head, heads, rows, columns)
            y, spacing_y, x, spacing_x = find_place(scale, offset, place, row, column, rows, columns, top, left, WINDOW)
            distance_y, distance_x = _distance(token_y % WINDOW * WINDOW + token_x % WINDOW, WINDOW)
            weight = (_triangle(y + spacing_y * distance_y, pixel_y) * _triangle(x + spacing_x * distance_x, pixel_x))
            grad = load_pixels(tokens, token_y, token_x, valid, channels, d).to(tl.float32)
            result = dot(weight, grad, result, 'ieee')
    store_pixels(out, pixel_y, pixel_x, pixel < height * width, channels, d, result)


def empty_map(like: Tensor, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
    """Allocates a map ``(..., heads, d, H, W)`` that is stored as ``(..., H, W, heads, d)``."""
    *first, heads, d, height, width = shape
    return like.new_empty((*first, height, width, heads, d), dtype=dtype).movedim((-2, -1), (-4, -3))


def stored(x: Tensor) -> Tensor:
    """Returns a map ``(..., heads, d, H, W)`` in the layout of :func:`empty_map`, copied if it has another layout."""
    return x.movedim((-4, -3), (-2, -1)).contiguous().movedim((-2, -1), (-4, -3))


def launch_windows(kernel: triton.JITFunction, num_programs: int, arguments: tuple, x: Tensor, scale: Tensor,
                   window_size: int, top: int, left: int, **constants) -> None:
    """Launches a kernel with ``arguments``, followed by the sizes of the map ``x`` and of the grid of windows."""
    heads, d, *size = x.shape[-4:]
    launch(kernel, (num_programs, ), *arguments, heads, *size, *scale.shape[3:], top, left, d, WINDOW=window_size,
           BLOCK_D=block_of(d), **constants)


@kernel_operator('window_sample')
def sample(features: Tensor, scale: Tensor, offset: Tensor, window_size: int, top: int, left: int) -> Tensor:
    """Returns the sampled tokens ``(B, heads, d, nh * window_size, nw * window_size)``."""
    rows, columns = scale.shape[3:]
    out = empty_map(features, *features.shape[:3], rows * window_size, columns * window_size)
    launch_windows(_sample_kernel, scale.numel() // 2, (*with_strides(features), scale, offset, out), features, scale,
                   window_size, top, left)
    return out


@kernel_operator('window_grad_scale_offset')
def grad_scale_offset(k: Tensor, v: Tensor | None, grad: Tensor, scale: Tensor, offset: Tensor, window_size: int,
                      top: int, left: int) -> tuple[Tensor, Tensor]:
    """Returns the gradients of scale and offset.

    ``grad`` holds the gradients of the tokens that were sampled from k and, unless it is None, from v, as
    ``(maps, B, heads, d, nh * window_size, nw * window_size)`` in the layout of :func:`stored`.
    """
    grad_scale, grad_offset = torch.empty_like(scale), torch.empty_like(offset)
    arguments = (*with_strides(k, k if v is None else v), grad, scale, offset, grad_scale, grad_offset, k.shape[0])
    launch_windows(_grad_scale_offset_kernel, scale.numel() // 2, arguments, k, scale, window_size, top, left,
                   BOTH=v is not None)
    return grad_scale, grad_offset


@kernel_operator('window_keys')
def keys_of_tokens(scale: Tensor, offset: Tensor, height: int, width: int, window_size: int, top: int,
                   left: int) -> Tensor:
    """Returns the keys by which tokens are sorted, ``(B, heads, nh * window_size * nw * window_size)`` in int32."""
    rows, columns = scale.shape[3:]
    keys = scale.new_empty((*scale.shape[:2], rows * columns * window_size**2), dtype=torch.int32)
    launch(_keys_kernel, (scale.numel() // 2, ), scale, offset, keys, scale.shape[1], height, width, rows, columns, top,
           left, WINDOW=window_size)
    return keys


@kernel_operator('window_pixels')
def weigh_tokens(tokens: Tensor, keys: Tensor, order: Tensor, scale: Tensor, offset: Tensor, height: int, width: int,
                 window_size: int, top: int, left: int, dtype: torch.dtype) -> Tensor:
    """Computes :func:`grad_pixels` from the sorted keys of tokens, and the order in which the tokens are sorted."""
    parts, images, heads, d = tokens.shape[:4]
    out = empty_map(tokens, parts, images, heads, d, height, width, dtype=dtype)
    blocks = num_blocks(height * width, PIXELS.value)
    launch_windows(_pixels_kernel, parts * images * heads * blocks,
                   (tokens, keys, order, scale, offset, out, images, blocks), out, scale, window_size, top, left,
                   BLOCK_N=TOKENS_PER_STEP.value)
    return out


def grad_pixels(tokens: Tensor, scale: Tensor, offset: Tensor, height: int, width: int, window_size: int, top: int,
                left: int, dtype: torch.dtype) -> Tensor:
    """Returns the gradients of maps ``(maps, B, heads, d, height, width)``.

    ``tokens`` is the gradient of the sampled tokens, in the layout of :func:`stored`.
    """
    keys, order = keys_of_tokens(scale, offset, height, width, window_size, top, left).sort(stable=True)
    return weigh_tokens(tokens, keys, order, scale, offset, height, width, window_size, top, left, dtype)


def launch_forward(features: Tensor, scale: Tensor, offset: Tensor, window_size: int, top: int,
                   left: int) -> tuple[Tensor]:
    return sample(features, scale, offset, window_size, top, left),


def launch_backward(outputs: Sequence[Tensor], grads: Sequence[Tensor], *, features: Tensor, scale: Tensor,
                    offset: Tensor, window_size: int, top: int, left: int) -> dict[str, Tensor]:
    """Returns the gradients by argument name."""
    tokens, window = stored(grads[0])[None], (window_size, top, left)
    height, width = features.shape[3:]
    grad_features = grad_pixels(tokens, scale, offset, height, width, *window, features.dtype)[0]
    grad_scale, grad_offset = grad_scale_offset(features, None, tokens, scale, offset, *window)
    return dict(features=grad_features, scale=grad_scale, offset=grad_offset)


run = differentiable(launch_forward, launch_backward)
