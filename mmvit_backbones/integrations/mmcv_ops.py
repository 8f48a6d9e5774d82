"""Operators of mmcv without a compiler: the functions of ``mmcv._ext``, in torchvision and PyTorch.

``python -m mmvit_backbones.integrations.mmcv_ops`` copies this file to ``_ext.py`` in mmcv's folder, where Python finds
it if there is no compiled ``_ext``. So it imports nothing of this package: the copy works without it, too.

Functions have the names and arguments of mmcv's. They run in the dtype of their tensors, also under autocast, and raise
errors where the compiled ones have no kernel for it. On CPUs, results are those of compiled mmcv; docs/upstream.md says
where they differ, and what other functions do, which raise NotImplementedError.

Arguments without an annotation are tensors, then integers, as mmcv calls them.
"""
import argparse
import ctypes
import functools
import importlib.util
import math
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

try:
    import torch
    from torch import Tensor
    from torchvision.ops import RoIAlign, box_iou, deform_conv2d
    from torchvision.ops import nms as torchvision_nms
except ModuleNotFoundError as error:
    if __name__ != '__main__':
        raise
    sys.exit(f'error: {error}')

FIRST_LINE = '# Written by mmvit_backbones'  # and its version


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


def require_float32(boxes: Tensor) -> None:
    if len(boxes) and boxes.dtype != torch.float32:
        raise RuntimeError(f'mmcv has no kernel for boxes in {boxes.dtype}, only in torch.float32')


def with_offset(boxes: Tensor, offset: int) -> Tensor:
    """Returns boxes whose sides are longer by ``offset``: by a pixel, where corners are pixels."""
    return boxes + boxes.new_tensor([0, 0, offset, offset])


@in_own_dtype
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Returns the indices of the boxes that non-maximum suppression keeps, best first."""
    require_float32(boxes)
    # Among equal scores, the order is that of a sort that is not stable. torchvision's is, so it gets ranks.
    order = scores.sort(0, descending=True)[1]
    ranks = -torch.arange(len(order), dtype=torch.float32, device=boxes.device)
    boxes = with_offset(boxes[order].float(), offset)  # if empty, of any dtype
    return order[torchvision_nms(boxes, ranks, float32(iou_threshold))]


@in_own_dtype
def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Returns the index of each kept box, followed by those which it suppresses; ``dets`` has scores in column 5."""
    require_float32(dets)
    order, groups = dets[:, 4].sort(0, descending=True)[1], []
    while len(order):
        is_in_group = box_iou(dets[order[:1], :4], dets[order, :4])[0] >= float32(iou_threshold)
        is_in_group[0] = True  # also of a box without area, whose IoU is NaN
        groups.append(order[is_in_group].tolist())
        order = order[~is_in_group]
    return groups


@in_own_dtype
def softnms(boxes: Tensor, scores: Tensor, dets: Tensor, iou_threshold: float, sigma: float, min_score: float,
            method: int, offset: int) -> Tensor:
    """Writes the boxes and their lowered scores to ``dets`` ``(N, 5)``, and returns their indices, best first.

    ``method`` is 0 for hard suppression, 1 for weights of 1 - IoU, 2 for a Gaussian of the IoU with variance ``sigma``.
    """
    require_float32(boxes)
    left, kept, scores = torch.arange(len(boxes), device=boxes.device), [], scores.clone()
    larger = with_offset(boxes, offset)
    while len(left):
        best = left[scores[left].argmax()]
        dets[len(kept), :4], dets[len(kept), 4] = boxes[best], scores[best]
        kept.append(best)
        left = left[left != best]
        overlaps = box_iou(larger[None, best], larger[left])[0]
        if method == 2:  # the exact exponential in float32, as the C library's; PyTorch's differs in the last bit
            scores[left] *= (-(overlaps * overlaps) / float32(sigma)).double().exp().to(scores.dtype)
        else:
            scores[left] *= torch.where(overlaps >= float32(iou_threshold), 1 - overlaps if method else 0., 1.)
        left = left[scores[left] >= float32(min_score)]
    return torch.stack(kept) if kept else left


# ---- regions: (N, 5), of the image's index and corners


@in_own_dtype
def roi_align_forward(input, rois, output, argmax_y, argmax_x, aligned_height, aligned_width, spatial_scale,
                      sampling_ratio, pool_mode, aligned) -> None:
    """Writes averages of the maps ``input`` ``(B, C, H, W)`` to ``output`` ``(N, C, height, width)``."""
    if pool_mode == 0:
        raise_missing("roi_align_forward with pool_mode='max'")
    if aligned and input.device.type == 'cpu' and not (rois[:, 3:] >= rois[:, 1:3]).all():
        raise RuntimeError('rois of RoIAlign have a negative width or height')  # which mmcv checks on CPUs alone
    settings = (aligned_height, aligned_width), float32(spatial_scale), sampling_ratio, aligned
    output.copy_(RoIAlign(*settings)(input, rois))


@in_own_dtype
def roi_align_backward(grad_output, rois, argmax_y, argmax_x, grad_input, aligned_height, aligned_width, spatial_scale,
                       sampling_ratio, pool_mode, aligned) -> None:
    """Adds the gradient of the maps to ``grad_input``; it does not depend on their values."""
    settings = (aligned_height, aligned_width), float32(spatial_scale), sampling_ratio, aligned
    grad_input += gradients(lambda maps: RoIAlign(*settings)(maps, rois), [grad_input], grad_output)[0]


# ---- deformable convolutions and attention


@in_own_dtype
def deform_conv_forward(input, weight, offset, output, columns, ones, kW, kH, dW, dH, padW, padH, dilationW, dilationH,
                        group, deformable_group, im2col_step) -> None:
    output.copy_(deform_conv2d(input, offset, weight, None, (dH, dW), (padH, padW), (dilationH, dilationW)))


@in_own_dtype
def deform_conv_backward_input(input, offset, gradOutput, gradInput, gradOffset, weight, columns, kW, kH, dW, dH, padW,
                               padH, dilationW, dilationH, group, deformable_group, im2col_step) -> None:
    places = (dH, dW), (padH, padW), (dilationH, dilationW)
    grad_input, grad_offset = gradients(lambda x, moved: deform_conv2d(x, moved, weight, None, *places),
                                        [input, offset], gradOutput)
    gradInput += grad_input
    gradOffset.copy_(grad_offset.masked_fill_(is_outside(offset, (kH, kW), *places), 0))


@in_own_dtype
def deform_conv_backward_parameters(input, offset, gradOutput, gradWeight, columns, ones, kW, kH, dW, dH, padW, padH,
                                    dilationW, dilationH, group, deformable_group, scale, im2col_step) -> None:
    places = (dH, dW), (padH, padW), (dilationH, dilationW)
    grad, = gradients(lambda weight: deform_conv2d(input, offset, weight, None, *places), [gradWeight], gradOutput)
    gradWeight.add_(grad, alpha=scale)


@in_own_dtype
def modulated_deform_conv_forward(input, weight, bias, ones, offset, mask, output, columns, kernel_h, kernel_w,
                                  stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group,
                                  with_bias) -> None:
    places = (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w)
    points = deformable_group * kernel_h * kernel_w
    offset, mask = first_numbers(offset, 2 * points, output), first_numbers(mask, points, output)
    # One image after the other, as mmcv; products with the columns of several ones can be rounded otherwise.
    for result, x, moved, factors in zip(*(each[:, None] for each in (output, input, offset, mask))):
        result.copy_(deform_conv2d(x, moved, weight, bias if with_bias else None, *places, factors))


@in_own_dtype
def modulated_deform_conv_backward(input, weight, bias, ones, offset, mask, columns, grad_input, grad_weight, grad_bias,
                                   grad_offset, grad_mask, grad_output, kernel_h, kernel_w, stride_h, stride_w, pad_h,
                                   pad_w, dilation_h, dilation_w, group, deformable_group, with_bias) -> None:
    places = (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w)
    points = deformable_group * kernel_h * kernel_w
    read_offset, read_mask = (functools.partial(first_numbers, channels=each, output=grad_output)
                              for each in (2 * points, points))
    of_input, of_weight, of_offset, of_mask = gradients(
        lambda x, kernel, moved, factors: deform_conv2d(x, moved, kernel, None, *places, factors),
        [input, weight, read_offset(offset), read_mask(mask)], grad_output)
    grad_input += of_input
    grad_weight += of_weight
    of_offset.masked_fill_(is_outside(read_offset(offset), (kernel_h, kernel_w), *places), 0)
    grad_offset.copy_(gradients(read_offset, [offset], of_offset)[0])
    grad_mask.copy_(gradients(read_mask, [mask], of_mask)[0])
    if with_bias:
        grad_bias += grad_output.sum((0, 2, 3))


def first_numbers(x: Tensor, channels: int, output: Tensor) -> Tensor:
    """Returns the first numbers of each image of offsets or masks, as ``(B, channels, H, W)`` of the output.

    So compiled mmcv reads them, which checks no sizes: those of DyHead and GLIP are of a finer level than the output.
    """
    batch, _, *size = output.shape
    rows = x[:batch].flatten(1)
    if len(rows) < batch or rows.shape[1] < channels * math.prod(size):
        raise RuntimeError(f'offset or mask {tuple(x.shape)} is too small: it needs {(batch, channels, *size)}')
    return rows[:, :channels * math.prod(size)].unflatten(1, (channels, *size))


def is_outside(offset: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int],
               dilation: tuple[int, int]) -> Tensor:
    """Returns which points are at -1 or before, where mmcv has no gradient, and torchvision has one at -1."""
    points = offset.unflatten(1, (-1, *kernel, 2))  # (B, groups, kernel's height and width, 2, H, W)
    counts = [[torch.arange(count, device=offset.device) for count in pair] for pair in zip(kernel, offset.shape[2:])]
    y, x = (spread * taps[:, None] + step * places - pad
            for (taps, places), step, pad, spread in zip(counts, stride, padding, dilation))
    is_above = points[:, :, :, :, 0] + y[:, None, :, None] <= -1
    is_left = points[:, :, :, :, 1] + x[:, None] <= -1
    return (is_above | is_left).unsqueeze(4).expand_as(points).flatten(1, 4)


@in_own_dtype
def ms_deform_attn_forward(value, value_spatial_shapes, value_level_start_index, sampling_locations, attention_weights,
                           im2col_step) -> Tensor:
    return attend(value, value_spatial_shapes, sampling_locations, attention_weights)


@in_own_dtype
def ms_deform_attn_backward(value, value_spatial_shapes, value_level_start_index, sampling_locations, attention_weights,
                            grad_output, grad_value, grad_sampling_loc, grad_attn_weight, im2col_step) -> None:
    grads = gradients(lambda maps, places, weights: attend(maps, value_spatial_shapes, places, weights),
                      [value, sampling_locations, attention_weights], grad_output)
    for total, grad in zip((grad_value, grad_sampling_loc, grad_attn_weight), grads):
        total += grad


def attend(value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """Returns what mmcv computes on CPUs, where it calls its own function in PyTorch."""
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch
    return multi_scale_deformable_attn_pytorch(value, shapes.cpu(), locations, weights)


# ---- focal loss: logits (N, C), targets (N, )


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


def one_hot(input: Tensor, target: Tensor) -> Tensor:
    """Returns whether a column is the target's; targets outside of the columns, such as background, have none."""
    return target[:, None] == torch.arange(input.shape[1], device=input.device)


def log(probabilities: Tensor) -> Tensor:
    """Returns logarithms; those of float64 are bounded as in float32, like mmcv's."""
    return probabilities.clamp(min=max(torch.finfo(dtype).tiny for dtype in (torch.float32, probabilities.dtype))).log()


def weights_of(weight: Tensor, target: Tensor, input: Tensor) -> Tensor:
    """Returns the weights of the targets' classes, 1 for background and without weights."""
    return torch.cat([weight, weight.new_ones(input.shape[1] + 1 - len(weight))])[target.clamp(min=-1)]


# ---- the command


def main(arguments: Sequence[str] | None = None) -> None:
    """Copies this file into mmcv's folder, or removes the copy, and prints what was done."""
    parser = argparse.ArgumentParser(description="Writes mmcv's operators in Python into mmcv's folder.")
    parser.add_argument('--remove', action='store_true', help='remove what this command wrote')
    args = parser.parse_args(arguments)
    try:
        print(remove() if args.remove else write(find_folder()))
    except OSError as error:
        sys.exit(f'error: {error}')


def find_folder() -> Path:
    """Returns mmcv's folder; exits if the operators would not be used there, or others' files are there."""
    spec = importlib.util.find_spec('mmcv')
    if spec is None or spec.origin is None:
        sys.exit("error: mmcv is not installed: pip install '.[openmmlab-lite]'")
    folder = Path(spec.origin).parent
    if compiled := next(filter(Path.exists, (folder / f'_ext{suffix}' for suffix in EXTENSION_SUFFIXES)), None):
        sys.exit(f'error: mmcv has compiled operators: {compiled}; where they do not work, delete this file, and run '
                 'the command again')
    copy = folder / '_ext.py'
    if copy.exists() and not is_ours(copy):
        sys.exit(f'error: {copy} is not from this command; delete it, and run the command again')
    return folder


def is_ours(file: Path) -> bool:
    return file.is_file() and file.read_bytes().startswith(FIRST_LINE.encode())


def write(folder: Path) -> str:
    # Read, not imported: this file is also run where the package is not installed.
    version = runpy.run_path(str(Path(__file__).resolve().parents[1] / 'version.py'))['__version__']
    source = Path(__file__).read_text(encoding='utf-8')
    temporary, copy = folder / f'_ext.py.{os.getpid()}', folder / '_ext.py'
    temporary.write_text(f'{FIRST_LINE} {version}\n{source}', encoding='utf-8')
    os.replace(temporary, copy)  # processes that start meanwhile read the old file or the new one
    return f'wrote {copy}: operators of mmcv in Python, of mmvit_backbones {version}; --remove removes them'


def remove() -> str:
    """Removes the copy, also where mmcv itself was removed before."""
    spec = importlib.util.find_spec('mmcv')
    for folder in map(Path, spec.submodule_search_locations or () if spec else ()):
        copy = folder / '_ext.py'
        if is_ours(copy):
            for file in copy, *folder.glob('__pycache__/_ext.*.pyc'):
                file.unlink(missing_ok=True)
            for each in folder / '__pycache__', folder:
                with suppress(OSError):  # of other files
                    each.rmdir()
            return f'removed {copy}'
    return 'there is nothing to remove'


if __name__ == '__main__':
    main()
