"""Calls of mmcv's functions with random numbers, for its compiled ones and for those in Python."""
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv2d


class Inputs(NamedTuple):
    """Draws tensors; uniform numbers are the same on all machines."""
    dtype: torch.dtype
    is_strided: bool
    random: torch.Generator

    def uniform(self, *shape: int, low: float = 0, high: float = 1, step: float = 0) -> Tensor:
        """Draws float64 numbers, or multiples of a step."""
        x = low + (high - low) * torch.rand(*shape, generator=self.random, dtype=torch.float64)
        return (x / step).floor() * step if step else x

    def draw(self, *shape: int, **settings: float) -> Tensor:
        return self.laid_out(self.uniform(*shape, **settings))

    def laid_out(self, x: Tensor) -> Tensor:
        """Returns a tensor in the dtype, perhaps with other strides: channels last, or every second number."""
        x = x.to(self.dtype)
        if not self.is_strided:
            return x
        return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else torch.stack([x, x], -1)[..., 0]

    def boxes(self, count: int, step: float = 0, low: float = 0) -> Tensor:
        corners, sizes = self.uniform(count, 2, high=40, step=step), self.uniform(count, 2, low=low, high=20, step=step)
        return torch.cat([corners, corners + sizes], 1)


def nms(ops: Any, inputs: Inputs, offset: int = 0, threshold: float = 0.7, count: int = 150, **boxes: float) -> list:
    scores = inputs.draw(count, step=0.05)  # many of them equal
    return [ops.nms(inputs.laid_out(inputs.boxes(count, **boxes)), scores, iou_threshold=threshold, offset=offset)]


def nms_match(ops: Any, inputs: Inputs, count: int = 60, **boxes: float) -> list:
    dets = inputs.laid_out(torch.cat([inputs.boxes(count, **boxes), inputs.uniform(count, 1, step=0.05)], 1))
    groups = ops.nms_match(dets, iou_threshold=0.6)
    return [torch.tensor([len(group) for group in groups]), *map(torch.tensor, groups)]


def softnms(ops: Any, inputs: Inputs, method: int, offset: int = 0, count: int = 60, score_step: float = 0.05,
            **boxes: float) -> list:
    dets = torch.zeros(count, 5, dtype=inputs.dtype)
    rows, scores = inputs.laid_out(inputs.boxes(count, **boxes)), inputs.draw(count, step=score_step)
    indices = ops.softnms(rows, scores, dets, iou_threshold=0.3, sigma=0.5, min_score=0.1, method=method, offset=offset)
    assert torch.equal(dets[:len(indices), :4], rows[indices])
    return [torch.tensor(sorted(dets[:len(indices)].tolist()), dtype=inputs.dtype)]  # equal scores are in any order


def roi_align(ops: Any, inputs: Inputs, count: int = 9, scale: float = 0.3, ratio: int = 0, aligned: bool = True,
              **boxes: float) -> list:
    maps, images = inputs.draw(2, 2, 8, 9, low=-1), inputs.uniform(count, 1, high=2, step=1)
    regions = inputs.laid_out(torch.cat([images, inputs.boxes(count, **boxes)], 1))
    output, empty = torch.zeros(count, 2, 3, 2, dtype=inputs.dtype), torch.zeros(0, dtype=inputs.dtype)
    settings = dict(aligned_height=3, aligned_width=2, spatial_scale=scale, sampling_ratio=ratio, pool_mode=1,
                    aligned=aligned)
    ops.roi_align_forward(maps, regions, output, empty, empty, **settings)
    gradient = torch.zeros(maps.shape, dtype=inputs.dtype)
    ops.roi_align_backward(inputs.draw(count, 2, 3, 2, low=-1), regions, empty, empty, gradient, **settings)
    return [output, gradient]


def deform_conv(ops: Any, inputs: Inputs, places: tuple, groups: int, step: float) -> list:
    (dH, dW), (padH, padW), (dilationH, dilationW) = places
    settings = dict(kW=2, kH=3, dW=dW, dH=dH, padW=padW, padH=padH, dilationW=dilationW, dilationH=dilationH,
                    group=groups, deformable_group=groups, im2col_step=2)
    (x, weight, offset, _), output, gradient = draw_convolution(inputs, places, groups, step)
    empty, gradients = x.new_empty(0), [torch.zeros(each.shape, dtype=x.dtype) for each in (x, offset, weight)]
    ops.deform_conv_forward(x, weight, offset, output, empty, empty, **settings)
    ops.deform_conv_backward_input(x, offset, gradient.clone(), *gradients[:2], weight, empty, **settings)
    ops.deform_conv_backward_parameters(x, offset, gradient, gradients[2], empty, empty, scale=1, **settings)
    return [output, *gradients]


def modulated_deform_conv(ops: Any, inputs: Inputs, places: tuple, groups: int, step: float, more: int = 0) -> list:
    settings = dict(zip('stride_h stride_w pad_h pad_w dilation_h dilation_w'.split(), sum(places, ())), kernel_h=3,
                    kernel_w=2, group=groups, deformable_group=groups, with_bias=groups == 1)
    (x, weight, offset, mask), output, gradient = draw_convolution(inputs, places, groups, step, more)
    bias, empty = inputs.draw(4), x.new_empty(0)
    gradients = [torch.zeros(each.shape, dtype=x.dtype) for each in (x, weight, bias, offset, mask)]
    ops.modulated_deform_conv_forward(x, weight, bias, empty, offset, mask, output, empty, **settings)
    ops.modulated_deform_conv_backward(x, weight, bias, empty, offset, mask, empty, *gradients, gradient, **settings)
    return [output, *gradients]


def draw_convolution(inputs: Inputs, places: tuple, groups: int, step: float,
                     more: int = 0) -> tuple[list[Tensor], Tensor, Tensor]:
    """Returns maps, weights, offsets and factors with ``more`` rows and columns, the empty output, and its gradient."""
    x, weight = inputs.draw(2, 4, 5, 4, low=-1), inputs.draw(4, 4 // groups, 3, 2, low=-1)
    with torch.autocast('cpu', enabled=False):
        batch, channels, *size = conv2d(x, weight, None, *places, groups).shape
    larger = [side + more for side in size]
    offset = inputs.draw(batch, 12 * groups, *larger, low=-2, high=2, step=step)
    mask, gradient = inputs.draw(batch, 6 * groups, *larger), inputs.draw(batch, channels, *size, low=-1)
    return [x, weight, offset, mask], torch.zeros(gradient.shape, dtype=x.dtype), gradient


class Case(NamedTuple):
    """A call in the dtypes for which compiled mmcv has kernels."""
    call: Callable[[Any, Inputs], list[Tensor]]
    dtypes: tuple[torch.dtype, ...] = (torch.float32, )

    def run(self, ops: Any, dtype: torch.dtype, is_strided: bool = False, seed: int = 0) -> Tensor:
        """Returns all results in one row."""
        results = self.call(ops, Inputs(dtype, is_strided, torch.Generator().manual_seed(seed)))
        return torch.cat([values.flatten().double() for values in results]).to(dtype)


KINDS = {'': {}, 'integer': dict(step=1), 'degenerate': dict(step=2, low=-3), 'no': dict(count=0)}
PLACES = ((1, 1), (1, 1), (1, 1)), ((2, 1), (0, 2), (1, 2))  # strides, paddings and dilations of rows and columns
FLOATS = torch.float32, torch.float64
HALVES = *FLOATS, torch.float16
CASES = {
    **{f'nms of {kind} boxes, offset {offset}, {threshold}': Case(
        partial(nms, offset=offset, threshold=threshold, **settings))
       for (kind, settings), offset, threshold in product(KINDS.items(), (0, 1), (0.3, 0.7))},
    **{f'nms_match of {kind} boxes': Case(partial(nms_match, **settings)) for kind, settings in KINDS.items()},
    **{f'softnms {method} of {kind} boxes, offset {offset}': Case(
        partial(softnms, method=method, offset=offset, **settings))
       for (kind, settings), method, offset in product(KINDS.items(), (0, 1), (0, 1))},
    # Exponentials of the C library differ in a last bit, which orders equal scores.
    'softnms 2': Case(partial(softnms, method=2, score_step=0)),
    **{f'roi_align of {kind} boxes, ratio {ratio}, aligned {aligned}': Case(
        partial(roi_align, ratio=ratio, aligned=aligned, **settings), HALVES)
       for (kind, settings), ratio, aligned in product(KINDS.items(), (0, 2), (False, True))
       if not (aligned and kind == 'degenerate')},
    'roi_align far outside': Case(partial(roi_align, scale=2.), HALVES),
    'roi_align of empty boxes': Case(partial(roi_align, step=30), HALVES),
    **{f'{function.__name__}, {number}, {groups} groups, steps of {step}': Case(
        partial(function, places=places, groups=groups, step=step), FLOATS)
       for function, (number, places), groups, step in product(
           (deform_conv, modulated_deform_conv), enumerate(PLACES), (1, 2), (0, 1))},
    **{f'modulated_deform_conv by larger maps, {groups} groups': Case(
        partial(modulated_deform_conv, places=PLACES[1], groups=groups, step=0, more=2), FLOATS) for groups in (1, 2)},
}
