"""Checks the backbone of a config, or of a model."""
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmvit_backbones.backbones import Backbone
from mmvit_backbones.errors import UsageError


def check_channels(model: nn.Module) -> None:
    """Raises UsageError if images are normalized with another number of channels than the backbone takes."""
    backbone, mean = getattr(model, 'backbone', None), getattr(getattr(model, 'data_preprocessor', None), 'mean', None)
    if isinstance(backbone, Backbone) and isinstance(mean, Tensor) and mean.numel() not in (1, backbone.in_channels):
        raise UsageError(f'model.backbone.in_channels is {backbone.in_channels}, but data_preprocessor.mean has '
                         f'{mean.numel()} values')


def build_on_meta(cfg: Config) -> Backbone | None:
    """Builds a config's backbone on the meta device; returns None if the backbone is not from this package.

    Raises:
        UsageError: If an argument is invalid, or ``in_channels`` does not match the mean of the ``data_preprocessor``.
    """
    arguments = dict(cfg.model.get('backbone') or {})
    kind = arguments.pop('type', None)
    backbone_type = kind if isinstance(kind, type) else MODELS.module_dict.get(str(kind))
    if not (backbone_type and issubclass(backbone_type, Backbone)):
        return None  # not from this package
    try:
        with torch.device('meta'):
            backbone = backbone_type(**arguments)
    except Exception as error:  # invalid arguments can raise any exception
        raise UsageError(f'model.backbone: {error}'.split('\n')[0]) from error
    mean = {**(cfg.get('data_preprocessor') or {}), **(cfg.model.get('data_preprocessor') or {})}.get('mean') or ()
    if len(mean) not in (0, 1, backbone.in_channels):
        raise UsageError(f'model.backbone.in_channels is {backbone.in_channels}, but data_preprocessor.mean has '
                         f'{len(mean)} values')
    return backbone
