"""Reads the backbone of a config, with how its images are normalized, and checks that of a model."""

from mmengine.config import Config
from torch import Tensor, nn

from mmvit_backbones.backbones import Backbone
from mmvit_backbones.errors import UsageError
from mmvit_backbones.zoo.source import images_in
from mmvit_backbones.zoo.variants import Normalization


def setting_of(cfg: Config) -> tuple[dict, Normalization | None]:
    """Returns a config's backbone, with the weights that its model names, and how its images are normalized.

    This is for runs and configs what :func:`mmvit_backbones.zoo.settings.setting` is for names of networks.
    """
    values = cfg.to_dict()
    model, backbone = values['model'], values['model']['backbone']
    if model.get('pretrained'):  # of mmseg
        backbone['init_cfg'] = dict(type='Pretrained', checkpoint=model['pretrained'])
    return backbone, images_in(values)


def check_channels(model: nn.Module) -> None:
    """Raises UsageError if images are normalized with another number of channels than the backbone takes."""
    backbone, mean = getattr(model, 'backbone', None), getattr(getattr(model, 'data_preprocessor', None), 'mean', None)
    if isinstance(backbone, Backbone) and isinstance(mean, Tensor) and mean.numel() not in (1, backbone.in_channels):
        raise UsageError(f'model.backbone.in_channels is {backbone.in_channels}, but data_preprocessor.mean has '
                         f'{mean.numel()} values')
