"""Triton kernels of :func:`mmvit_backbones.ops.varied_size_window.varied_size_window_sample`.

In the backward pass, the gradient of a pixel is a weighted sum over tokens. A token at distance ``a < 1`` along x and
``b < 1`` along y has the weight ``(1 - a) (1 - b)``, as in bilinear interpolation. A program adds the gradients of the
windows near a pixel in a fixed order and without atomic operations, so that results are deterministic.

Each program processes one window of one head, in the order ``(B, nh, nw, heads)``, except in ``_pixels_kernel``, where
it processes a tile of a map. Input maps ``(B, heads, d, H, W)`` may have any strides; other maps are stored as
``(B, H, W, heads, d)`` (see :func:`empty_map`). Scale and offset are contiguous.
"""
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .autograd import differentiable
from .blocks import dot
from .launch import block_of, jit, kernel_operator, launch, matmul_precision, num_blocks, with_strides

TOKENS_PER_STEP = tl.constexpr(16)  # because a whole window would need too many registers
TILE = tl.constexpr(8)  # height and width of a tile in pixels


@jit
def strided_head(x, x_b, x_h, x_d, x_y, x_x, image, head):
    """Returns a pointer to the map of one head, and its strides."""
    return x + image.to(tl.int64) * x_b + head.to(tl.int64) * x_h, x_d, x_y, x_x


@jit
def stored_head(x, image, head, heads, height, width, d):
    """Returns a pointer to the map of one head that is stored as ``(B, H, W, heads, d)``, and its strides."""
    return x + (image.to(tl.int64) * height * width * heads + head) * d, 1, width * heads * d, heads * d


@jit
def _at(x, row, column, channels):
    first, x_d, x_y, x_x = x
    return (first + row.to(tl.int64) * x_y + column.to(tl.int64) * x_x)[:, None] + (channels * x_d)[None, :]


@jit
def load_pixels(x, row, column, valid, channels, d):
    """Loads one pixel per token, ``(tokens, channels)``, with zeros for invalid tokens."""
    return tl.load(_at(x, row, column, channels), mask=valid[:, None] & (channels < d)[None, :], other=0.)


@jit
def store_pixels(x, row, column, valid, channels, d, block):
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
def _slopes(x, taps, valid, channels, size, grad):
    """Returns the gradients of token positions along y and x, computed from the gradients of sampled tokens."""
    row, fy, column, fx = taps
    a = tl.sum(_corner(x, row, column, valid, channels, size) * grad, 1)
    b = tl.sum(_corner(x, row, column + 1, valid, channels, size) * grad, 1)
    y, x_slope = -(1 - fx) * a - fx * b, (1 - fy) * (b - a)
    a = tl.sum(_corner(x, row + 1, column, valid, channels, size) * grad, 1)
    b = tl.sum(_corner(x, row + 1, column + 1, valid, channels, size) * grad, 1)
    return y + (1 - fx) * a + fx * b, x_slope + fy * (b - a)


@jit
def add_slopes(features, grad, place, row, column, channels, size, sums, WINDOW: tl.constexpr):
    """Adds the gradients of a window's scale and offset to ``sums``.

    ``sums`` holds the gradients of offset and scale along y, then along x, each as ``TOKENS_PER_STEP`` partial sums.
    """
    offset_y, scale_y, offset_x, scale_x = sums
    for first in range(0, WINDOW * WINDOW, TOKENS_PER_STEP):
        token = first + tl.arange(0, TOKENS_PER_STEP)
        valid = token < WINDOW * WINDOW
        y, x = positions(token, row, column, WINDOW)
        g = load_pixels(grad, y, x, valid, channels, size[2])
        along_y, along_x = _slopes(features, _taps(place, token, size, WINDOW), valid, channels, size,
                                   g.to(tl.float32))
        distance_y, distance_x = _distance(token, WINDOW)
        offset_y += along_y
        scale_y += along_y * distance_y
        offset_x += along_x
        scale_x += along_x * distance_x
    return offset_y, scale_y, offset_x, scale_x


@jit
def store_slopes(grad_scale, grad_offset, index, next_axis, sums):
    offset_y, scale_y, offset_x, scale_x = sums
    tl.store(grad_scale + index, tl.sum(scale_x))
    tl.store(grad_scale + index + next_axis, tl.sum(scale_y))
    tl.store(grad_offset + index, tl.sum(offset_x))
    tl.store(grad_offset + index + next_axis, tl.sum(offset_y))


@jit
def _sample_kernel(features, f_b, f_h, f_d, f_y, f_x, scale, offset, out, heads, height, width, rows, columns, top,
                   left, d, WINDOW: tl.constexpr, BLOCK_D: tl.constexpr):
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
def _slopes_kernel(features, f_b, f_h, f_d, f_y, f_x, grad, scale, offset, grad_scale, grad_offset, heads, height,
                   width, rows, columns, top, left, d, WINDOW: tl.constexpr, BLOCK_D: tl.constexpr):
    """Computes the gradients of scale and offset from the gradients of sampled features."""
    image, row, column, head, index = find_window(heads, rows, columns)
    place = find_place(scale, offset, index, row, column, rows, columns, top, left, WINDOW)
    features = strided_head(features, f_b, f_h, f_d, f_y, f_x, image, head)
    grad = stored_head(grad, image, head, heads, rows * WINDOW, columns * WINDOW, d)
    zero = tl.zeros((TOKENS_PER_STEP,), tl.float32)
    sums = add_slopes(features, grad, place, row, column, tl.arange(0, BLOCK_D), (height, width, d),
                      (zero, zero, zero, zero), WINDOW)
    store_slopes(grad_scale, grad_offset, index, rows * columns, sums)


@jit
def _triangle(center, spacing, distance, pixel):
    """Returns the weights of pixels in the interpolation of tokens along an axis, ``(pixels, tokens)``."""
    apart = tl.abs((center + spacing * distance)[None, :] - pixel[:, None].to(tl.float32))
    return tl.where(apart < 1, 1 - apart, 0.)


@jit
def _reaches(center, spacing, first, WINDOW: tl.constexpr):
    """Returns whether a window may have tokens within one pixel of a tile along an axis."""
    reach = tl.abs(spacing) * ((WINDOW - 1) / 2)
    return (center + reach > first - 1) & (center - reach < first + TILE)


@jit
def _pixels_kernel(tokens, scale, offset, out, images, tiles_y, tiles_x, heads, height, width, rows, columns, top, left,
                   d, WINDOW: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr):
    """Computes the gradients of a tile's pixels, as weighted sums of the gradients of tokens.

    ``tokens`` and ``out`` hold several maps with the same windows. ``image`` is an index over maps and batch.
    """
    plane, tile = tl.program_id(0) // (tiles_y * tiles_x), tl.program_id(0) % (tiles_y * tiles_x)
    image, head = plane // heads, plane % heads
    tokens = stored_head(tokens, image, head, heads, rows * WINDOW, columns * WINDOW, d)
    out = stored_head(out, image, head, heads, height, width, d)
    tile_y, tile_x = tile // tiles_x * TILE, tile % tiles_x * TILE
    pixel, token, channels = tl.arange(0, TILE * TILE), tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_D)
    distance_y, distance_x = _distance(token, WINDOW)
    pixel_y, pixel_x = tile_y + pixel // TILE, tile_x + pixel % TILE
    result = tl.zeros((TILE * TILE, BLOCK_D), tl.float32)
    for window in range(0, rows * columns):
        row, column = window // columns, window % columns
        index = _parameters(image % images, row, column, head, heads, rows, columns)
        y, spacing_y, x, spacing_x = find_place(scale, offset, index, row, column, rows, columns, top, left, WINDOW)
        if _reaches(y, spacing_y, tile_y, WINDOW) & _reaches(x, spacing_x, tile_x, WINDOW):
            weight = _triangle(y, spacing_y, distance_y, pixel_y) * _triangle(x, spacing_x, distance_x, pixel_x)
            token_y, token_x = positions(token, row, column, WINDOW)
            grad = load_pixels(tokens, token_y, token_x, token < WINDOW * WINDOW, channels, d)
            result = dot(weight.to(grad.dtype), grad, result, PRECISION)
    store_pixels(out, pixel_y, pixel_x, (pixel_y < height) & (pixel_x < width), channels, d, result)


def empty_map(like: Tensor, *shape: int) -> Tensor:
    """Allocates a map ``(..., heads, d, H, W)`` that is stored as ``(..., H, W, heads, d)``."""
    *first, heads, d, height, width = shape
    return like.new_empty((*first, height, width, heads, d)).movedim((-2, -1), (-4, -3))


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


@kernel_operator('window_sample_slopes')
def slopes(features: Tensor, grad: Tensor, scale: Tensor, offset: Tensor, window_size: int, top: int,
           left: int) -> tuple[Tensor, Tensor]:
    """Returns the gradients of scale and offset; ``grad`` must have the layout of :func:`stored`."""
    grad_scale, grad_offset = torch.empty_like(scale), torch.empty_like(offset)
    arguments = *with_strides(features), grad, scale, offset, grad_scale, grad_offset
    launch_windows(_slopes_kernel, scale.numel() // 2, arguments, features, scale, window_size, top, left)
    return grad_scale, grad_offset


@kernel_operator('window_pixels')
def grad_pixels(tokens: Tensor, scale: Tensor, offset: Tensor, height: int, width: int, window_size: int, top: int,
                left: int) -> Tensor:
    """Returns the gradients of maps ``(maps, B, heads, d, height, width)``.

    ``tokens`` is the gradient of the sampled tokens, in the layout of :func:`stored`.
    """
    parts, images, heads, d = tokens.shape[:4]
    out = empty_map(tokens, parts, images, heads, d, height, width)
    tiles = [num_blocks(length, TILE.value) for length in (height, width)]
    num_programs = parts * images * heads * tiles[0] * tiles[1]
    launch_windows(_pixels_kernel, num_programs, (tokens, scale, offset, out, images, *tiles), out, scale, window_size,
                   top, left, BLOCK_N=block_of(window_size**2), PRECISION=matmul_precision())
    return out


def launch_forward(features: Tensor, scale: Tensor, offset: Tensor, window_size: int, top: int,
                   left: int) -> tuple[Tensor]:
    return sample(features, scale, offset, window_size, top, left),


def launch_backward(outputs: Sequence[Tensor], grads: Sequence[Tensor], *, features: Tensor, scale: Tensor,
                    offset: Tensor, window_size: int, top: int, left: int) -> dict[str, Tensor]:
    """Returns the gradients by argument name."""
    grad = stored(grads[0])
    height, width = features.shape[3:]
    grad_features, = grad_pixels(grad[None], scale, offset, height, width, window_size, top, left).unbind(0)
    grad_scale, grad_offset = slopes(features, grad, scale, offset, window_size, top, left)
    return dict(features=grad_features, scale=grad_scale, offset=grad_offset)


run = differentiable(launch_forward, launch_backward)
