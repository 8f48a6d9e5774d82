"""Selects the weights for a config, and checks its backbone before the model is built."""
import os.path as osp
import warnings
from typing import Literal

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS

from ..backbones import Backbone
from ..errors import CheckpointError, UsageError
from ..utils.file_configs import dicts_in
from .loading import OFFICIAL, load_backbone, read_checkpoint
from .variants import VARIANTS, find_variant


def choose_checkpoint(cfg: Config, checkpoint: str | None, tag: str | bool | None) -> str:
    """Returns ``checkpoint``, a file or address, or the name of the authors' weights with this tag."""
    if checkpoint and not tag:
        return checkpoint
    if checkpoint or not tag:
        raise UsageError('give either checkpoint or pretrained')
    backbone = cfg.model.get('backbone') or {}
    variants = [variant for variant in VARIANTS.values()
                if all(backbone.get(key) == variant.backbone[key] for key in ('type', 'arch'))]
    if not variants:
        raise UsageError(f'pretrained: the backbone of {cfg.filename} is not one of mmvit_backbones.list_models()')
    # Variants that differ only in their windows have the same type and arch: prefer the one in the config's name.
    name = f'{osp.splitext(osp.basename(cfg.filename))[0]}_'
    best = max(variants, key=lambda variant: (
        variant.has_weights(tag), len(variant.short_name) * (f'_{variant.short_name}_' in name)))
    return official_name(best.name, tag)


def official_name(network: str, tag: str | Literal[True]) -> str:
    """Returns the ``official://`` name of a network's weights."""
    find_variant(network).find_weights(tag)
    return f'{OFFICIAL}{network}' + ('' if tag is True else f'/{tag}')


def check_backbone(cfg: Config) -> Backbone | None:
    """Builds a backbone of this package on the meta device and returns it; raises UsageError for bad arguments."""
    arguments = dict(cfg.model.get('backbone') or {})
    backbone_type = MODELS.module_dict.get(str(arguments.pop('type', None)))
    if not (backbone_type and issubclass(backbone_type, Backbone)):
        return None  # a backbone of the framework
    try:
        with torch.device('meta'):
            backbone = backbone_type(**{**arguments, 'init_cfg': None})
    except Exception as error:  # invalid arguments can raise any exception
        raise UsageError(f'model.backbone: {error}'.split('\n')[0]) from error
    preprocessors = [part for part in (cfg.get('data_preprocessor'), cfg.model.get('data_preprocessor')) if part]
    if not all(isinstance(part, dict) for part in preprocessors):
        raise UsageError(f'data_preprocessor must be a dict, got {preprocessors[-1]!r}')
    mean = {key: value for part in preprocessors for key, value in part.items()}.get('mean') or ()
    if not isinstance(mean, (list, tuple)):
        raise UsageError(f'data_preprocessor.mean must be a list with one number per channel, got {mean!r}')
    channels = len(mean)
    if channels not in (0, 1, backbone.in_channels):
        raise UsageError(f'model.backbone.in_channels is {backbone.in_channels}, but data_preprocessor.mean is for '
                         f'{channels} channels')
    return backbone


def check_pretrained(model: ConfigDict, backbone: Backbone | None) -> None:
    """Reads the pretrained weights of a model's config; those of ``backbone``, on the meta device, must match it."""
    of_backbone = list(dicts_in(model.backbone.get('init_cfg'))) if backbone else []
    for node in dicts_in(model):
        if node.get('type') != 'Pretrained' or not is_readable(node['checkpoint']):
            continue
        try:
            if backbone is not None and any(node is own for own in of_backbone):
                with warnings.catch_warnings():
                    warnings.filterwarnings('ignore', '.*copying from a non-meta parameter.*', UserWarning)
                    load_backbone(backbone, node['checkpoint'], node.get('prefix'))
            else:
                check_checkpoint(node['checkpoint'])
        except CheckpointError as error:
            raise UsageError(f'pretrained weights: {error}; docs/zoo.md lists available weights, and '
                             'model.backbone.init_cfg=None starts from random weights') from error


def check_checkpoint(filename: str) -> None:
    """Checks that a checkpoint can be read; names that MMEngine's loaders resolve are skipped."""
    if is_readable(filename):
        read_checkpoint(filename, mmap=True)


def is_readable(filename: str) -> bool:
    """Returns whether this package reads a checkpoint; MMEngine's loaders read names such as ``torchvision://...``."""
    return '://' not in filename or filename.startswith(('http', OFFICIAL))
