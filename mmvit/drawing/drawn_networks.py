"""Builds the networks of drawings, and normalizes images as their data preprocessors do."""
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor

from mmvit_backbones.backbones import Backbone
from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.openmmlab_models import log_from, type_name
from mmvit_backbones.zoo.building import get_model
from mmvit_backbones.zoo.checkpoints import read_checkpoint
from mmvit_backbones.zoo.loading import load_checkpoint
from mmvit_backbones.zoo.reading import LAST, find_checkpoint
from mmvit_backbones.zoo.settings import setting, variants_of
from mmvit_backbones.zoo.source import open_weights
from mmvit_backbones.zoo.variants import Normalization, find_variant

from ..configs.backbone import setting_of
from ..naming import resolve
from ..running.run_folder import RunFolder
from ..utils.distributed import warn

# A function from RGB values (3, H, W) from 0 to 255 to the input (1, 3, H, W) of a network.
Normalize = Callable[[Tensor], Tensor]


def drawn_network(network: str, checkpoint: str | None, pretrained: bool | str
                  ) -> tuple[Backbone, Normalize, str | None]:
    """Returns the backbone of a network, the function that normalizes its images, and its checkpoint.

    A network may be named by the work dir of its training, whose best checkpoint it then has.
    """
    if checkpoint and pretrained:
        raise UsageError(f'checkpoint and pretrained are mutually exclusive, got {checkpoint} and {pretrained}')
    file = network if resolve(network, 'draw') == 'run' else checkpoint
    checkpoint = file and find_checkpoint(file)
    torch.manual_seed(0)
    if checkpoint and Path(checkpoint).with_name(LAST).is_file():
        backbone, images = run_backbone(network, checkpoint)
    else:
        variant = find_variant(network)
        weights = open_weights(pretrained or checkpoint, variant)
        checkpoint, images = weights and weights.source, setting(variant, weights=weights).images
        with log_from(logging.WARNING):  # a figure needs no head and no output norms
            backbone: Any = get_model(network, 'backbone', checkpoint)
    if not checkpoint:
        warn(f'{network} has random weights; set pretrained or checkpoint')
    return backbone.eval(), as_statistics(images), checkpoint


def run_backbone(network: str, checkpoint: str) -> tuple[Backbone, Normalization]:
    """Returns the backbone of a run, with its weights, and how its images are normalized.

    Raises:
        UsageError: If it is another network than the one that is named, or not of this package.
    """
    cfg = RunFolder.open(checkpoint, needs=('model', )).config
    config, images = setting_of(cfg)
    variants = variants_of(config, cfg.model.get('head') or {})
    if not variants or resolve(network, 'draw') != 'run' and find_variant(network) not in variants:
        raise UsageError(f'network (--network) must be of this package, and that of {checkpoint}, which is '
                         f'{type_name(config)} {config.get("arch", "")}, got {network}')
    backbone = MODELS.build({**config, 'init_cfg': None})
    with log_from(logging.WARNING):
        load_checkpoint(backbone, read_checkpoint(checkpoint), checkpoint)
    return backbone, images or setting(variants[0]).images


def pixel_of(query: tuple[int, int] | None, width: int, height: int) -> tuple[int, int]:
    """Returns x and y of a query, by default the center of an image; raises UsageError if it is not in the image."""
    x, y = query or (width // 2, height // 2)
    if not (0 <= x < width and 0 <= y < height):
        raise UsageError(f'query must be inside the image of {width} x {height} pixels (width x height), got {x},{y}')
    return x, y


def as_statistics(images: Normalization) -> Normalize:
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (images.mean, images.std))
    return lambda pixels: (((pixels if images.to_rgb else pixels.flip(0)).float() - mean) / std)[None]
