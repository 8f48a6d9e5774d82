"""Compares the strides for which a detector's heads are set with those of its maps."""
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from torch import nn

from mmvit_backbones.errors import UsageError


@contextmanager
def checked_strides(model: nn.Module, size: Sequence[int]) -> Iterator[None]:
    """Compares, while a model of mmdet runs, the strides of anchors, points and RoI extractors with those of the maps.

    Args:
        model (nn.Module): The model.
        size (Sequence[int]): Height and width of its images in pixels.

    Raises:
        UsageError: If a head is set for other strides; boxes would be off by a part of the image without a word.
    """
    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if priors := getattr(module, 'prior_generator', None):
                setting = 'strides' if hasattr(module, 'strides') else 'anchor_generator.strides'
                strides = list(getattr(priors, 'strides', ()))  # (width, height) each
            else:
                setting = 'featmap_strides'
                strides = [(stride, stride) for stride in getattr(module, setting, ())]
            if strides:
                check = partial(_check, f'model.{name}.{setting}', strides, size)
                hooks.enter_context(module.register_forward_pre_hook(check))
        yield


def _check(setting: str, strides: Sequence[tuple[float, float]], size: Sequence[int], head: nn.Module,
           inputs: tuple) -> None:
    maps = inputs[0] if inputs and isinstance(inputs[0], (list, tuple)) else ()
    multiples = [max(each) for each in zip(*strides)][::-1]  # to which networks pad images
    for level, (x, stride) in enumerate(zip(maps, strides)):
        for length, pixels, step, multiple in zip(x.shape[2:], size, stride[::-1], multiples):
            padded = math.ceil(pixels / multiple) * multiple
            if not pixels / step - 1 <= length <= padded / step + 1:
                raise UsageError(f'{setting} must be the strides of the maps, got {step:g} for map {level}, which has '
                                 f'{length} values for {pixels} pixels, a stride of about {pixels / length:.3g}')
