"""Reads the backbone of a config, with how its images are normalized."""
from mmengine.config import Config

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
