"""Reads the backbone of a config, with how its images are normalized, and checks that of a model."""
from pathlib import Path

from mmengine.config import Config
from torch import Tensor, nn

from mmvit_backbones.backbones import Backbone
from mmvit_backbones.errors import UsageError
from mmvit_backbones.zoo.reading import LAST
from mmvit_backbones.zoo.variants import Normalization

from .files import config_of


def setting_of(cfg: Config) -> tuple[dict, Normalization | None]:
    """Returns a config's backbone, with the weights that its model names, and how its images are normalized.

    This is for runs and configs what :func:`mmvit_backbones.zoo.settings.setting` is for names of networks. Without a
    data preprocessor, nothing is known of the images; one without a mean leaves them as they are.
    """
    values = cfg.to_dict()
    model, backbone = values['model'], values['model']['backbone']
    if model.get('pretrained'):  # of mmseg
        backbone['init_cfg'] = dict(type='Pretrained', checkpoint=model['pretrained'])
    found = model.get('data_preprocessor') or values.get('data_preprocessor')
    while found and 'data_preprocessor' in found:  # of several views
        found = found['data_preprocessor']
    if not found:
        return backbone, None
    to_rgb = any(found.get(key) for key in ('bgr_to_rgb', 'rgb_to_bgr', 'to_rgb'))
    if found.get('mean') is None:
        return backbone, Normalization([0.] * 3, [1.] * 3, to_rgb)
    return backbone, Normalization(list(found['mean']), list(found['std']), to_rgb)


def run_of(checkpoint: str | None) -> Config | None:
    """Returns the config of the training that saved a checkpoint; None if it is not in the work dir of one.

    Raises:
        UsageError: If the work dir has no config that can be read; see :func:`.config_of`.
    """
    if checkpoint and any((folder / LAST).is_file() for folder in (Path(checkpoint), Path(checkpoint).parent)):
        return config_of(None, checkpoint, ('model', ))
    return None


def check_channels(model: nn.Module) -> None:
    """Raises UsageError if images are normalized with another number of channels than the backbone takes."""
    backbone, mean = getattr(model, 'backbone', None), getattr(getattr(model, 'data_preprocessor', None), 'mean', None)
    if isinstance(backbone, Backbone) and isinstance(mean, Tensor) and mean.numel() not in (1, backbone.in_channels):
        raise UsageError(f'model.backbone.in_channels is {backbone.in_channels}, but data_preprocessor.mean has '
                         f'{mean.numel()} values')
