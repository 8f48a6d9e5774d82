"""Resizes, crops and normalizes images in modules that can be exported.

Images are resized and cropped by matrix products, or by indexing for bilinear interpolation. The matrices and indices
are computed from the image size, so one graph supports images of all sizes. OpenCV interpolates with integers, so about
one bilinearly resized value in ten differs from OpenCV's by 1 of 255.
"""
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmvit_backbones.errors import UsageError
from mmvit_backbones.ops.resizing import pooling_matrix
from mmvit_backbones.ops.sizes import to_multiple
from mmvit_backbones.utils.openmmlab_models import type_name

from ..inference.runtimes import loader_of

KERNELS = {('cv2', 'bilinear'), ('pillow', 'bilinear'), ('pillow', 'bicubic')}
RESIZE_STEPS = 'Resize', 'ResizeEdge', 'ResizeByOrientation', 'ResizeToCover'


def matrix(size: int, position: Tensor, out: Tensor, interpolation: str) -> Tensor:
    """Returns the matrix ``(len(position), size)`` by which Pillow resizes ``size`` pixels to ``out`` pixels.

    The result is computed only for the output pixels ``position``.
    """
    pixel = torch.arange(size, dtype=torch.float64, device=position.device)
    ratio = size / out.double()
    center = (position.double()[:, None] + 0.5) * ratio - 0.5
    distance = ((pixel - center) / ratio.clamp(min=1)).abs()
    if interpolation == 'bilinear':
        weight = (1 - distance).clamp(min=0)
    else:
        near = (1.5 * distance - 2.5) * distance * distance + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        weight = torch.where(distance < 1, near, torch.where(distance < 2, far, 0.))
    return (weight / weight.sum(1, keepdim=True)).float()


def bilinear(x: Tensor, axis: int, position: Tensor, out: Tensor) -> Tensor:
    """Resizes an axis to ``out`` pixels by linear interpolation; computes only the output pixels ``position``."""
    size = x.shape[axis]
    center = ((position.double() + 0.5) * (size / out.double()) - 0.5).clamp(0, size - 1)
    first = center.floor().long()
    weight = (center - first).float()
    return torch.lerp(x.index_select(axis, first), x.index_select(axis, (first + 1).clamp(max=size - 1)),
                      weight if axis == 3 else weight[:, None])


class Geometry:
    """Image sizes after the resizing, cropping and padding of a test pipeline.

    Args:
        steps (Sequence[dict]): The pipeline, as in a config.
        divisor (int): Height and width are padded to multiples of this number. Defaults to 1.

    Raises:
        UsageError: If a step cannot be exported.
    """

    def __init__(self, steps: Sequence[dict[str, Any]], divisor: int = 1) -> None:
        self.is_float = loader_of(steps).get('to_float32', False)  # else, resized pixels are rounded
        steps = [dict(step, type=type_name(step)) for step in steps[1:]]
        steps = [step for step in steps if not step['type'].startswith('Pack') and step['type'] != 'LoadAnnotations']
        resize = steps.pop(0) if steps and steps[0]['type'] in RESIZE_STEPS else None
        crop = steps.pop(0) if steps and steps[0]['type'] == 'CenterCrop' else None
        if steps:
            raise UsageError(f'step {steps[0]["type"]} of the test pipeline cannot be exported; allowed are one of '
                             f'{", ".join(RESIZE_STEPS)}, optionally followed by CenterCrop')
        self.resize: dict = resize or dict(type=None)
        if self.resize['type'] == 'ResizeEdge':
            if self.resize.get('edge', 'short') != 'short':
                raise UsageError(f"ResizeEdge can be exported with edge='short', got {self.resize['edge']!r}")
            self.resize |= dict(type='ResizeToCover', scale=(self.resize['scale'], ) * 2)
        self.divisor = divisor
        self.kernel: tuple[str, str] = (
            self.resize.get('backend', 'cv2'), self.resize.get('interpolation', 'bilinear'))
        if self.kernel not in KERNELS:
            raise UsageError(f'{self.resize["type"]} with {" ".join(self.kernel)} cannot be exported; allowed are '
                             f'{", ".join(" ".join(kernel) for kernel in sorted(KERNELS))}')
        self.crop: tuple[int, int] | None = None  # height, width
        if crop:
            size = crop['crop_size']
            width, height = (size, size) if isinstance(size, int) else size
            self.crop = height, width
        scale = self.resize.get('scale')
        if self.resize['type'] == 'Resize' and not isinstance(scale, (tuple, list)):
            raise UsageError(f'Resize must have a scale (width, height), got {scale!r}')
        if self.crop:
            self._check_crop(*self.crop)
        self.size = self.crop  # height and width after all steps, if all images have the same
        if self.resize['type'] == 'Resize' and not self.resize.get('keep_ratio') and not self.crop:
            height, width = (to_multiple(side, divisor) for side in reversed(self.resize['scale']))
            self.size = height, width

    def _check_crop(self, height: int, width: int) -> None:
        """Raises UsageError if some resized images are smaller than the crop, or if the crop needs padding."""
        kind: str | None = self.resize['type']
        scale: Any = self.resize.get('scale')
        if kind is None or self.resize.get('keep_ratio'):
            raise UsageError('CenterCrop can be exported after ResizeToCover, ResizeEdge and other steps with '
                             'keep_ratio=False, because images may be smaller than the crop; got '
                             f'{self.resize if kind else None}')
        sides = [min(scale)] * 2 if kind == 'ResizeByOrientation' else scale
        if width > sides[0] or height > sides[1]:
            raise UsageError(f'crop_size of CenterCrop must be at most {sides[0]} x {sides[1]} pixels after the step '
                             f'before it, got {width} x {height} (width x height)')
        if width % self.divisor or height % self.divisor:
            raise UsageError(f'crop_size of CenterCrop must be a multiple of pad_size_divisor={self.divisor}, got '
                             f'{width} x {height} (width x height)')

    def resized(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the height and width of an image after resizing; without a resizing step, the image's own size."""
        height, width = (torch.full((), size, dtype=torch.float64) for size in size_of(image))
        kind = self.resize['type']
        if kind is None:
            return height, width
        scale = self.resize['scale']
        if kind == 'ResizeToCover':
            by_width = scale[0] * height >= scale[1] * width
            return (torch.where(by_width, torch.floor(scale[0] * height / width), scale[1]),
                    torch.where(by_width, scale[0], torch.floor(scale[1] * width / height)))
        if self.resize.get('keep_ratio'):
            ratio = torch.minimum(max(scale) / torch.maximum(height, width), min(scale) / torch.minimum(height, width))
            return torch.floor(height * ratio + 0.5), torch.floor(width * ratio + 0.5)
        new_width, new_height = (torch.full((), float(size), dtype=torch.float64) for size in scale)
        if kind == 'Resize':
            return new_height, new_width
        is_portrait = height > width
        return torch.where(is_portrait, new_width, new_height), torch.where(is_portrait, new_height, new_width)


def size_of(image: Tensor) -> tuple[int, int]:
    """Returns the height and width of a uint8 image ``(..., H, W, 3)`` or of a network's input ``(B, 3, H, W)``."""
    height, width = image.shape[-3:-1] if image.dtype == torch.uint8 else image.shape[-2:]
    return height, width


def as_tuple(values: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (values, ) if isinstance(values, Tensor) else tuple(values)


class Preprocess(nn.Module):
    """Resizes, crops, normalizes and pads RGB uint8 images ``(B, H, W, 3)`` or ``(H, W, 3)`` to ``(B, 3, h, w)``."""

    mean: Tensor
    std: Tensor

    def __init__(self, geometry: Geometry, mean: Tensor, std: Tensor, is_rgb: bool) -> None:
        super().__init__()
        self.geometry, self.is_rgb = geometry, is_rgb
        self.register_buffer('mean', mean.detach().clone().view(3, 1, 1))
        self.register_buffer('std', std.detach().clone().view(3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        x = (image if image.ndim == 4 else image[None]).permute(0, 3, 1, 2).float()
        if not self.is_rgb:
            x = x.flip(1)
        sizes = self.geometry.resized(image)
        rows, columns = (self._positions(size, axis) for axis, size in enumerate(sizes))
        x = self._resize(x, rows, columns, sizes)
        x = (x - self.mean) / self.std
        if self.geometry.divisor > 1:
            is_image = (rows < sizes[0])[:, None] & (columns < sizes[1])
            x = torch.where(is_image, x, 0.)
        return x

    def _resize(self, x: Tensor, rows: Tensor, columns: Tensor, sizes: tuple[Tensor, Tensor]) -> Tensor:
        height, width = x.shape[2:]
        backend, interpolation = self.geometry.kernel
        if backend == 'cv2':
            x = bilinear(bilinear(x, 3, columns, sizes[1]), 2, rows, sizes[0])
            return x if self.geometry.is_float else x.round()
        x = x @ matrix(width, columns, sizes[1], interpolation).T
        x = x.round().clamp(0, 255)  # Pillow rounds to uint8 between its two passes
        return (matrix(height, rows, sizes[0], interpolation) @ x).round().clamp(0, 255)

    def _positions(self, size: Tensor, axis: int) -> Tensor:
        """Returns each output row's or column's position in the resized image; positions beyond its end are padding."""
        if self.geometry.crop:
            return torch.arange(self.geometry.crop[axis]) + torch.round((size - self.geometry.crop[axis]) / 2)
        if self.geometry.size:
            return torch.arange(self.geometry.size[axis]).double()
        divisor = self.geometry.divisor
        length = (torch.ceil(size / divisor) * divisor).long().item()
        torch._check(length >= 2)
        return torch.arange(length).double()


class MatrixPool(nn.Module):
    """Computes ``nn.AdaptiveAvgPool2d`` by matrix products, so that one graph supports all image sizes.

    If a value of ``output_size`` is None, the input size is kept.
    """

    def __init__(self, output_size: int | Sequence[int | None] | None) -> None:
        super().__init__()
        self.output_size = tuple(output_size) if isinstance(output_size, Sequence) else (output_size, output_size)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (pooling_matrix(size, out or size, like=x) for size, out in zip(x.shape[2:], self.output_size))
        return rows @ x @ columns.T
