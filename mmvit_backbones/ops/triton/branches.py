"""Triton kernel of :mod:`mmvit_backbones.ops.branches`."""
import functools
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import kernel_operator, launch

BLOCK = 1024
MAX_MAPS = 4


@triton.jit
def _term(x, x_b, x_h, x_w, x_c, scale, image, y, column, channel, inside, HAS_SCALE: tl.constexpr):
    """Elements of a map in float32, times its factor for their image."""
    at = image.to(tl.int64) * x_b + y.to(tl.int64) * x_h + column.to(tl.int64) * x_w + channel * x_c
    value = tl.load(x + at, mask=inside).to(tl.float32)
    if HAS_SCALE:
        value *= tl.load(scale + image, mask=inside).to(tl.float32)
    return value


@triton.jit
def _sum_kernel(a, a_b, a_h, a_w, a_c, b, b_b, b_h, b_w, b_c, c, c_b, c_h, c_w, c_c, d, d_b, d_h, d_w, d_c, scales,
                out, images, height, width, channels, elements, NUM_MAPS: tl.constexpr, HAS_SCALES: tl.constexpr,
                BLOCK: tl.constexpr):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < elements
    channel, pixel = index % channels, index // channels
    column, y, image = pixel % width, pixel // width % height, pixel // width // height
    total = _term(a, a_b, a_h, a_w, a_c, scales, image, y, column, channel, inside, False)
    total += _term(b, b_b, b_h, b_w, b_c, scales, image, y, column, channel, inside, HAS_SCALES)
    if NUM_MAPS > 2:
        total += _term(c, c_b, c_h, c_w, c_c, scales + images, image, y, column, channel, inside, HAS_SCALES)
    if NUM_MAPS > 3:
        total += _term(d, d_b, d_h, d_w, d_c, scales + 2 * images, image, y, column, channel, inside, HAS_SCALES)
    tl.store(out + index, total.to(out.dtype.element_ty), mask=inside)


@kernel_operator('sum_maps')
def sum_maps(maps: Sequence[Tensor], scales: Tensor | None) -> Tensor:
    """The sum of two to four maps ``(B, H, W, C)`` of any strides; it is contiguous.

    ``scales``, ``(maps - 1, B)`` and contiguous, are factors of the images of all maps but the first.
    """
    first, *shape = maps[0], *maps[0].shape
    out = first.new_empty(shape, dtype=functools.reduce(torch.promote_types, [x.dtype for x in maps]))
    arguments = [argument for x in (*maps, *[first] * (MAX_MAPS - len(maps))) for argument in (x, *x.stride())]
    launch(_sum_kernel, (triton.cdiv(out.numel(), BLOCK), ), *arguments, first if scales is None else scales, out,
           *shape, out.numel(), NUM_MAPS=len(maps), HAS_SCALES=scales is not None, BLOCK=BLOCK)
    return out
