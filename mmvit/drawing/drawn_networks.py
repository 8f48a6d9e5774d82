"""Builds the networks of drawings, and normalizes images as their data preprocessors do."""
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmvit_backbones.backbones import Backbone
from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.openmmlab_models import log_from
from mmvit_backbones.zoo.building import get_backbone
from mmvit_backbones.zoo.reading import LAST
from mmvit_backbones.zoo.variants import Variant, find_variant

from ..configs.files import config_of
from ..configs.official import images_of, official_name
from ..utils.distributed import warn
from ..utils.frameworks import build_model, takes_rgb, use_framework

# A function from RGB values (3, H, W) from 0 to 255 to the input (1, 3, H, W) of a network.
Normalize = Callable[[Tensor], Tensor]


def drawn_network(network: str, checkpoint: str | None, pretrained: bool | str
                  ) -> tuple[Backbone, Normalize, str | None]:
    """Returns the backbone of a network, the function that normalizes its images, and its checkpoint."""
    if checkpoint and pretrained:
        raise UsageError(f'checkpoint and pretrained are mutually exclusive, got {checkpoint} and {pretrained}')
    torch.manual_seed(0)
    with log_from(logging.WARNING):  # a figure needs no head and no output norms
        variant = find_variant(network)
        checkpoint = official_name(network, pretrained) if pretrained else checkpoint
        backbone, normalize = get_backbone(network, checkpoint), as_network(variant, checkpoint)
    if not checkpoint:
        warn(f'{network} has random weights; set pretrained or checkpoint')
    return backbone.eval(), normalize, checkpoint


def pixel_of(query: tuple[int, int] | None, width: int, height: int) -> tuple[int, int]:
    """Returns x and y of a query, by default the center of an image; raises UsageError if it is not in the image."""
    x, y = query or (width // 2, height // 2)
    if not (0 <= x < width and 0 <= y < height):
        raise UsageError(f'query must be inside the image of {width} x {height} pixels (width x height), got {x},{y}')
    return x, y


def as_preprocessor(preprocessor: nn.Module) -> Normalize:
    """Returns a function that normalizes as the data preprocessor of a model; its statistics may be on a GPU."""
    mean, std = (getattr(preprocessor, name, None) for name in ('mean', 'std'))
    if mean is None or std is None:
        mean, std = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    return as_statistics(mean.cpu(), std.cpu(), takes_rgb(preprocessor))


def as_network(variant: Variant, checkpoint: str | None) -> Normalize:
    """Returns a function that normalizes as the weights of a network expect.

    These are the statistics in the config of the training that saved the checkpoint, those of another library's weights
    by name, or else those of the published weights.
    """
    if checkpoint and any((folder / LAST).is_file() for folder in (Path(checkpoint), Path(checkpoint).parent)):
        cfg = config_of(None, checkpoint, ('model', ))
        use_framework(cfg.default_scope)
        model: Any = build_model(cfg)
        return as_preprocessor(model.data_preprocessor)
    images = images_of(checkpoint, variant.family)
    return as_statistics(torch.tensor(images.mean), torch.tensor(images.std), images.to_rgb)


def as_statistics(mean: Tensor, std: Tensor, is_rgb: bool = True) -> Normalize:
    mean, std = mean.view(-1, 1, 1), std.view(-1, 1, 1)
    return lambda pixels: (((pixels if is_rgb else pixels.flip(0)).float() - mean) / std)[None]
