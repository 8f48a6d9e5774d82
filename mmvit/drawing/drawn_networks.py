"""Builds the networks of drawings, and normalizes images as their data preprocessors do."""
import logging
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
from mmvit_backbones.zoo.variants import Normalization, Variant, find_variant

from ..configs.backbone import setting_of
from ..naming import resolve
from ..running.run_folder import RunFolder
from ..utils.distributed import warn


def drawn_network(network: str, checkpoint: str | None, pretrained: bool | str
                  ) -> tuple[Backbone, Normalization, str | None]:
    """Returns the backbone of a network, how its images are normalized, and its checkpoint.

    A network may be named by the work dir of its training, whose best checkpoint it then has.
    """
    if checkpoint and pretrained:
        raise UsageError(f'checkpoint and pretrained are mutually exclusive, got {checkpoint} and {pretrained}')
    variant = None if resolve(network, 'draw') == 'run' else find_variant(network)
    file = checkpoint if variant else network
    checkpoint = file and find_checkpoint(file)
    backbone: Any
    torch.manual_seed(0)
    with log_from(logging.WARNING):  # a figure needs no head and no output norms
        if variant is None or checkpoint and Path(checkpoint).with_name(LAST).is_file():
            backbone, images = run_backbone(str(checkpoint), variant)
        else:
            weights = open_weights(pretrained or checkpoint, variant)
            checkpoint, images = weights and weights.source, setting(variant, weights=weights).images
            backbone = get_model(network, 'backbone', checkpoint)
    if not checkpoint:
        warn(f'{network} has random weights; set pretrained or checkpoint')
    return backbone.eval(), images, checkpoint


def run_backbone(checkpoint: str, named: Variant | None) -> tuple[Any, Normalization]:
    """Returns the backbone of a run, with its weights, and how its images are normalized.

    Raises:
        UsageError: If it is another network than the one that is named, or not of this package.
    """
    cfg = RunFolder.open(checkpoint, ('model', )).config
    config, images = setting_of(cfg)
    variants = variants_of(config, cfg.model.get('head') or {})
    if not variants or named not in (None, *variants):
        raise UsageError(f'network (--network) must be of this package, and that of {checkpoint}, which is '
                         f'{type_name(config)} {config.get("arch", "")}, got {named.name if named else "another one"}')
    backbone = MODELS.build({**config, 'init_cfg': None})
    load_checkpoint(backbone, read_checkpoint(checkpoint), checkpoint)
    return backbone, images or setting(variants[0]).images


def normalize(pixels: Tensor, images: Normalization) -> Tensor:
    """Converts RGB values ``(3, H, W)`` from 0 to 255 to the input ``(1, 3, H, W)`` of a network."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (images.mean, images.std))
    return (((pixels if images.to_rgb else pixels.flip(0)).float() - mean) / std)[None]
