"""Normalizes the images of drawings as the data preprocessor of the drawn model does."""
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from mmvit_backbones.utils.openmmlab_models import takes_rgb
from mmvit_backbones.zoo.hubs import pretrained_settings
from mmvit_backbones.zoo.reading import LAST
from mmvit_backbones.zoo.variants import Variant

from ..inference.runtimes import build_model
from ..utils.config_files import config_beside, read_config
from ..utils.frameworks import import_quietly

# A function from RGB values (3, H, W) from 0 to 255 to the input (1, 3, H, W) of a network.
Normalize = Callable[[Tensor], Tensor]


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
    if checkpoint and (Path(checkpoint).parent / LAST).is_file():
        return as_preprocessor(model_of(read_config(config_beside(checkpoint), ('model', ))).data_preprocessor)
    images = (pretrained_settings(checkpoint) if checkpoint else None) or variant.family
    return as_statistics(torch.tensor(images.mean), torch.tensor(images.std))


def as_statistics(mean: Tensor, std: Tensor, is_rgb: bool = True) -> Normalize:
    mean, std = mean.view(-1, 1, 1), std.view(-1, 1, 1)
    return lambda pixels: (((pixels if is_rgb else pixels.flip(0)).float() - mean) / std)[None]


def model_of(cfg: Config) -> Any:
    """Builds the model of a config with random weights."""
    import_quietly(cfg.default_scope)
    init_default_scope(cfg.default_scope)
    return build_model(cfg)
