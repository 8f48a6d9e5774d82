"""Operators of mmcv without a compiler: the functions of ``mmcv._ext``, in torchvision and PyTorch.

``python -m mmvit_backbones.integrations.mmcv_ops`` copies this file to ``_ext.py`` in mmcv's folder, where Python finds
it if there is no compiled ``_ext``. So it imports nothing of this package: the copy works without it, too.

Functions have the names and arguments of mmcv's. They run in the dtype of their tensors, also under autocast, and raise
errors where the compiled ones have no kernel for it, except that torchvision's kernels also take float64 in ``nms``. On
CPUs, results are those of compiled mmcv; docs/upstream.md says where they differ, and what other functions do, which
raise NotImplementedError.
"""
import argparse
import base64
import ctypes
import functools
import hashlib
import importlib.metadata
import importlib.util
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision import ops

COMMAND = 'python -m mmvit_backbones.integrations.mmcv_ops'
DISTRIBUTION = 'mmvit-mmcv-ops'  # as which pip and uv list the copy
FLT_MIN = torch.finfo(torch.float32).tiny


def __getattr__(name: str) -> Callable:
    """Returns what raises an error when it is called, in place of a function of mmcv's that this file lacks."""
    if name.startswith('_'):  # Python's own, such as __path__
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return functools.partial(raise_missing, name)


def raise_missing(name: str, *args, **kwargs) -> None:
    raise NotImplementedError(f'mmcv._ext.{name} is not among the operators in Python; it needs a compiled mmcv')


def float32(number: float) -> float:
    """Returns the number that mmcv's functions get: they take floats, and torchvision's take doubles."""
    return ctypes.c_float(number).value


def in_own_dtype(function: Callable) -> Callable:
    """Runs a function without autograd, whose functions mmcv has around it, and without autocast."""
    @functools.wraps(function)
    def run(*args, **kwargs):
        device = next(value.device.type for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        # Before PyTorch 2.5, other devices have no autocast.
        with torch.no_grad(), torch.autocast(device, enabled=False) if device in ('cpu', 'cuda') else nullcontext():
            return function(*args, **kwargs)
    return run


def gradients(function: Callable, inputs: Sequence[Tensor], grad_output: Tensor) -> tuple[Tensor, ...]:
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_() for x in inputs]
        return torch.autograd.grad(function(*leaves), leaves, grad_output)


def get_compiler_version() -> str:
    return 'none: operators in Python, of mmvit_backbones'


def get_compiling_cuda_version() -> str:
    return 'not available'


# ---- boxes: (N, 4), of corners x1, y1, x2, y2


@in_own_dtype
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Returns the indices of the boxes that non-maximum suppression keeps, best first."""
    threshold = float32(iou_threshold)
    if not len(boxes):  # for which mmcv needs no kernel
        return scores.new_empty(0, dtype=torch.long)
    if offset:  # which torchvision does not know; sums with corners that are larger by a pixel are rounded otherwise
        groups = suppress(boxes, scores, lambda overlap: overlap > threshold, offset)
        return torch.stack([group[0] for group in groups])
    # Among equal scores, the order is that of a sort that is not stable. torchvision's is, so it gets ranks.
    order = scores.sort(0, descending=True)[1]
    ranks = -torch.arange(len(order), device=boxes.device).to(boxes.dtype)
    return order[ops.nms(boxes[order], ranks, threshold)]


@in_own_dtype
def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Returns the index of each kept box, followed by those which it suppresses; ``dets`` has scores in column 5."""
    threshold = float32(iou_threshold)
    return [group.tolist() for group in suppress(dets[:, :4], dets[:, 4], lambda overlap: overlap >= threshold, 0)]


def suppress(boxes: Tensor, scores: Tensor, suppresses: Callable[[Tensor], Tensor], offset: int) -> list[Tensor]:
    """Returns the indices of each kept box and of those which it suppresses, in the order of scores."""
    order, groups = scores.sort(0, descending=True)[1], []
    while len(order):
        is_in_group = suppresses(overlaps_of(boxes[order[0]], boxes[order], offset))
        is_in_group[0] = True
        groups.append(order[is_in_group])
        order = order[~is_in_group]
    return groups


def overlaps_of(box: Tensor, boxes: Tensor, offset: int) -> Tensor:
    """Returns the intersections over unions of a box with others, computed in the order of mmcv's loops."""
    widths = torch.minimum(box[2], boxes[:, 2]) - torch.maximum(box[0], boxes[:, 0]) + offset
    heights = torch.minimum(box[3], boxes[:, 3]) - torch.maximum(box[1], boxes[:, 1]) + offset
    intersections = widths.clamp(min=0) * heights.clamp(min=0)
    areas = [(each[..., 2] - each[..., 0] + offset) * (each[..., 3] - each[..., 1] + offset) for each in (box, boxes)]
    return intersections / (areas[0] + areas[1] - intersections)


@in_own_dtype
def softnms(boxes: Tensor, scores: Tensor, dets: Tensor, iou_threshold: float, sigma: float, min_score: float,
            method: int, offset: int) -> Tensor:
    """Writes the boxes and their lowered scores to ``dets`` ``(N, 5)``, and returns their indices, best first.

    ``method`` is 0 for hard suppression, 1 for weights of 1 - IoU, 2 for a Gaussian of the IoU with variance ``sigma``.
    """
    rows, indices = torch.cat([boxes, scores[:, None]], 1), torch.arange(len(boxes), device=boxes.device)
    for place in range(len(boxes)):
        if place == len(rows):
            break
        swapped = torch.arange(len(rows), device=boxes.device)
        # NaN, the IoU of two boxes without an area, is not above other scores, and none is above it.
        best = place if rows[place, 4].isnan() else place + rows[place:, 4].nan_to_num(-math.inf).argmax()
        swapped[place], swapped[best] = best, place
        rows, indices = rows[swapped], indices[swapped]
        dets[place] = rows[place]
        overlaps = overlaps_of(rows[place], rows[place + 1:], offset)
        if method == 2:  # float32 of the exact result, as the C library's
            weights = (-(overlaps * overlaps) / float32(sigma)).double().exp().to(overlaps.dtype)
        else:
            lowered = 1 - overlaps if method else torch.zeros_like(overlaps)
            weights = lowered.where(overlaps >= float32(iou_threshold), torch.ones_like(overlaps))
        rows[place + 1:, 4] *= weights
        is_left = torch.cat([rows.new_ones(place + 1, dtype=torch.bool), ~(rows[place + 1:, 4] < float32(min_score))])
        left = fill_gaps(is_left)
        rows, indices = rows[left], indices[left]
    return indices


def fill_gaps(is_left: Tensor) -> Tensor:
    """Returns the indices of what is left of a list in which the last ones have taken the places of those removed."""
    count = int(is_left.sum())
    order = torch.arange(count, device=is_left.device)
    order[~is_left[:count]] = is_left[count:].nonzero()[:, 0].flip(0) + count
    return order


def bbox_overlaps(bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int) -> None:
    """Writes intersections over unions (``mode`` 0) or over the areas of ``bboxes1`` (1) to ``ious``.

    ``ious`` is ``(N, M)``, or with ``aligned`` ``(N, )``, for pairs.
    """
    first = bboxes1 if aligned else bboxes1[:, None]
    corners = torch.maximum(first[..., :2], bboxes2[:, :2]), torch.minimum(first[..., 2:], bboxes2[:, 2:])
    width, height = (corners[1] - corners[0] + offset).clamp(0, 2 ** 31).unbind(-1)
    intersections = width * height
    area1, area2 = ((boxes[..., 2] - boxes[..., 0] + offset) * (boxes[..., 3] - boxes[..., 1] + offset)
                    for boxes in (first, bboxes2))
    ious.copy_(intersections / (area1 if mode else area1 + area2 - intersections))


# ---- regions: (N, 5), of the image's index and corners


@in_own_dtype
def roi_align_forward(input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor, argmax_x: Tensor,
                      aligned_height: int, aligned_width: int, spatial_scale: float, sampling_ratio: int,
                      pool_mode: int, aligned: bool) -> None:
    """Writes averages of the maps ``input`` ``(B, C, H, W)`` to ``output`` ``(N, C, height, width)``."""
    if pool_mode == 0:
        raise_missing("roi_align_forward with pool_mode='max'")
    if aligned and input.device.type == 'cpu' and not (sizes_of(rois, float32(spatial_scale)) >= 0).all():
        raise RuntimeError('rois of RoIAlign have a negative width or height')  # which mmcv checks on CPUs alone
    output.copy_(pool(input, rois, (aligned_height, aligned_width), float32(spatial_scale), sampling_ratio, aligned))


@in_own_dtype
def roi_align_backward(grad_output: Tensor, rois: Tensor, argmax_y: Tensor, argmax_x: Tensor, grad_input: Tensor,
                       aligned_height: int, aligned_width: int, spatial_scale: float, sampling_ratio: int,
                       pool_mode: int, aligned: bool) -> None:
    """Adds the gradient of the maps to ``grad_input``; it does not depend on their values."""
    settings = (aligned_height, aligned_width), float32(spatial_scale), sampling_ratio, aligned
    grad_input += gradients(lambda maps: pool(maps, rois, *settings), [grad_input], grad_output)[0]


def sizes_of(rois: Tensor, scale: float) -> Tensor:
    """Returns the heights and widths ``(N, 2)`` of regions on the maps, rounded as in mmcv's loops."""
    return ((rois[:, 3:] * scale - 0.5) - (rois[:, 1:3] * scale - 0.5)).flip(1)


def pool(maps: Tensor, rois: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool) -> Tensor:
    output = ops.roi_align(maps, rois, size, scale, ratio, aligned)
    if rois.dtype == torch.float64 and ratio <= 0:  # mmcv rounds to float32, before it counts the samples of a cell
        cells = sizes_of(rois, scale).clamp(min=0 if aligned else 1) / rois.new_tensor(size)
        for index in (cells.float().ceil() != cells.ceil()).any(1).nonzero()[:, 0]:
            samples = cells[index].float().ceil().int().tolist()
            finer = ops.roi_align(maps, rois[index:index + 1], [x * y for x, y in zip(size, samples)], scale, 1, aligned)
            output = output.index_put((index, ), F.avg_pool2d(finer, samples)[0])
    return output


# ---- deformable convolutions and attention


@in_own_dtype
def deform_conv_forward(input: Tensor, weight: Tensor, offset: Tensor, output: Tensor, columns: Tensor, ones: Tensor,
                        kW: int, kH: int, dW: int, dH: int, padW: int, padH: int, dilationW: int, dilationH: int,
                        group: int, deformable_group: int, im2col_step: int) -> None:
    output.copy_(ops.deform_conv2d(input, offset, weight, None, (dH, dW), (padH, padW), (dilationH, dilationW)))


@in_own_dtype
def deform_conv_backward_input(input: Tensor, offset: Tensor, gradOutput: Tensor, gradInput: Tensor,
                               gradOffset: Tensor, weight: Tensor, columns: Tensor, kW: int, kH: int, dW: int, dH: int,
                               padW: int, padH: int, dilationW: int, dilationH: int, group: int, deformable_group: int,
                               im2col_step: int) -> None:
    places = (dH, dW), (padH, padW), (dilationH, dilationW)
    grad_input, grad_offset = gradients(lambda x, moved: ops.deform_conv2d(x, moved, weight, None, *places),
                                        [input, offset], gradOutput)
    gradInput += grad_input
    gradOffset.copy_(grad_offset.masked_fill_(is_outside(offset, (kH, kW), *places), 0))


@in_own_dtype
def deform_conv_backward_parameters(input: Tensor, offset: Tensor, gradOutput: Tensor, gradWeight: Tensor,
                                    columns: Tensor, ones: Tensor, kW: int, kH: int, dW: int, dH: int, padW: int,
                                    padH: int, dilationW: int, dilationH: int, group: int, deformable_group: int,
                                    scale: float, im2col_step: int) -> None:
    places = (dH, dW), (padH, padW), (dilationH, dilationW)
    grad, = gradients(lambda weight: ops.deform_conv2d(input, offset, weight, None, *places), [gradWeight], gradOutput)
    gradWeight.add_(grad, alpha=scale)


@in_own_dtype
def modulated_deform_conv_forward(input: Tensor, weight: Tensor, bias: Tensor, ones: Tensor, offset: Tensor,
                                  mask: Tensor, output: Tensor, columns: Tensor, kernel_h: int, kernel_w: int,
                                  stride_h: int, stride_w: int, pad_h: int, pad_w: int, dilation_h: int,
                                  dilation_w: int, group: int, deformable_group: int, with_bias: bool) -> None:
    places = (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w)
    output.copy_(ops.deform_conv2d(input, offset, weight, bias if with_bias else None, *places, mask))


@in_own_dtype
def modulated_deform_conv_backward(input: Tensor, weight: Tensor, bias: Tensor, ones: Tensor, offset: Tensor,
                                   mask: Tensor, columns: Tensor, grad_input: Tensor, grad_weight: Tensor,
                                   grad_bias: Tensor, grad_offset: Tensor, grad_mask: Tensor, grad_output: Tensor,
                                   kernel_h: int, kernel_w: int, stride_h: int, stride_w: int, pad_h: int, pad_w: int,
                                   dilation_h: int, dilation_w: int, group: int, deformable_group: int,
                                   with_bias: bool) -> None:
    places = (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w)
    of_input, of_weight, of_offset, of_mask = gradients(
        lambda x, kernel, moved, factors: ops.deform_conv2d(x, moved, kernel, None, *places, factors),
        [input, weight, offset, mask], grad_output)
    grad_input += of_input
    grad_weight += of_weight
    grad_offset.copy_(of_offset.masked_fill_(is_outside(offset, (kernel_h, kernel_w), *places), 0))
    grad_mask.copy_(of_mask)
    if with_bias:
        grad_bias += grad_output.sum((0, 2, 3))


def is_outside(offset: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int],
               dilation: tuple[int, int]) -> Tensor:
    """Returns which points are at -1 or before, where mmcv has no gradient, and torchvision has one at -1."""
    points = offset.unflatten(1, (-1, *kernel, 2))  # (B, groups, kernel's height and width, 2, H, W)
    y, x = (step * torch.arange(size, device=offset.device) - pad + spread * torch.arange(taps, device=offset.device)[:, None]
            for step, size, pad, spread, taps in zip(stride, offset.shape[2:], padding, dilation, kernel))
    is_above = points[:, :, :, :, 0] + y[:, None, :, None] <= -1
    is_left = points[:, :, :, :, 1] + x[:, None] <= -1
    return (is_above | is_left).unsqueeze(4).expand_as(points).flatten(1, 4)


@in_own_dtype
def ms_deform_attn_forward(value: Tensor, value_spatial_shapes: Tensor, value_level_start_index: Tensor,
                           sampling_locations: Tensor, attention_weights: Tensor, im2col_step: int) -> Tensor:
    """Returns ``(B, queries, heads * channels)``: weighted sums of ``value`` ``(B, places, heads, channels)``.

    Locations are ``(B, queries, heads, levels, points, 2)`` with x and y from 0 to 1; weights are alike, without the 2.
    """
    output = value.new_zeros(value.shape[0], sampling_locations.shape[1], *value.shape[2:])
    for level, places, shape in levels_of(value_spatial_shapes, value_level_start_index):
        output += attend(value[:, places], sampling_locations[:, :, :, level], attention_weights[:, :, :, level], shape)
    return output.flatten(2)


@in_own_dtype
def ms_deform_attn_backward(value: Tensor, value_spatial_shapes: Tensor, value_level_start_index: Tensor,
                            sampling_locations: Tensor, attention_weights: Tensor, grad_output: Tensor,
                            grad_value: Tensor, grad_sampling_loc: Tensor, grad_attn_weight: Tensor,
                            im2col_step: int) -> None:
    grad_output = grad_output.unflatten(2, value.shape[2:])
    for level, places, shape in levels_of(value_spatial_shapes, value_level_start_index):
        grads = gradients(functools.partial(attend, shape=shape), (
            value[:, places], sampling_locations[:, :, :, level], attention_weights[:, :, :, level]), grad_output)
        grad_value[:, places] += grads[0]
        grad_sampling_loc[:, :, :, level] += grads[1]
        grad_attn_weight[:, :, :, level] += grads[2]


def levels_of(shapes: Tensor, starts: Tensor) -> Iterator[tuple[int, slice, tuple[int, int]]]:
    for level, (start, (height, width)) in enumerate(zip(starts.tolist(), shapes.tolist())):
        yield level, slice(start, start + height * width), (height, width)


def attend(value: Tensor, locations: Tensor, weights: Tensor, shape: tuple[int, int]) -> Tensor:
    """Returns the weighted sums ``(B, queries, heads, channels)`` over the points of a level."""
    batch, queries, heads, points = weights.shape
    maps = value.permute(0, 2, 3, 1).reshape(batch * heads, -1, *shape)
    grid = 2 * locations.transpose(1, 2).reshape(batch * heads, queries, points, 2) - 1
    sampled = F.grid_sample(maps, grid, align_corners=False)  # (B * heads, channels, queries, points)
    sums = (sampled * weights.transpose(1, 2).reshape(batch * heads, 1, queries, points)).sum(3)
    return sums.unflatten(0, (batch, heads)).permute(0, 3, 1, 2)


# ---- focal losses: logits or probabilities (N, C), targets (N, )


@in_own_dtype
def sigmoid_focal_loss_forward(input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float,
                               alpha: float) -> None:
    p, is_target = input.sigmoid(), one_hot(input, target)
    positive = alpha * (1 - p) ** gamma * log(p)
    negative = (1 - alpha) * p ** gamma * log(1 - p)
    output.copy_(-torch.where(is_target, positive, negative) * weights_of(weight, target, input)[:, None])


@in_own_dtype
def sigmoid_focal_loss_backward(input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float,
                                alpha: float) -> None:
    p, is_target = input.sigmoid(), one_hot(input, target)
    positive = alpha * (1 - p) ** gamma * (1 - p - gamma * p * log(p))
    negative = (1 - alpha) * p ** gamma * (gamma * (1 - p) * log(1 - p) - p)
    grad_input.copy_(-torch.where(is_target, positive, negative) * weights_of(weight, target, input)[:, None])


@in_own_dtype
def softmax_focal_loss_forward(input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float,
                               alpha: float) -> None:
    """Writes the losses of the probabilities ``input``; those of negative targets are zero."""
    p = input.gather(1, target.clamp(min=0)[:, None])[:, 0]
    loss = -alpha * (1 - p) ** gamma * log(p) * weights_of(weight, target, input)
    output.copy_(loss.masked_fill(target < 0, 0))


@in_own_dtype
def softmax_focal_loss_backward(input: Tensor, target: Tensor, weight: Tensor, buff: Tensor, grad_input: Tensor,
                                gamma: float, alpha: float) -> None:
    """Writes the gradients of the logits of the probabilities ``input``."""
    p = input.gather(1, target.clamp(min=0)[:, None])[:, 0]
    factor = alpha * (gamma * (1 - p) ** (gamma - 1) * p * log(p) - (1 - p) ** gamma)
    buff.copy_((factor * weights_of(weight, target, input)).masked_fill(target < 0, 0))
    grad_input.copy_(buff[:, None] * (one_hot(input, target).to(input.dtype) - input))


def one_hot(input: Tensor, target: Tensor) -> Tensor:
    """Returns whether a column is the target's; targets outside of the columns, such as background, have none."""
    return target[:, None] == torch.arange(input.shape[1], device=input.device)


def log(probabilities: Tensor) -> Tensor:
    return probabilities.clamp(min=max(FLT_MIN, torch.finfo(probabilities.dtype).tiny)).log()


def weights_of(weight: Tensor, target: Tensor, input: Tensor) -> Tensor:
    """Returns the weights of the targets' classes, 1 for background and without weights."""
    if not weight.numel():
        return input.new_ones(len(target))
    return F.pad(weight, (0, 1), value=1)[target.clamp(min=-1)]
