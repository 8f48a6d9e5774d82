"""Checks the backbone of a config, and its pretrained weights, before a model is built."""
import warnings
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from mmvit_backbones.backbones import Backbone
from mmvit_backbones.errors import CheckpointError, UsageError
from mmvit_backbones.zoo.checkpoints import read_checkpoint
from mmvit_backbones.zoo.loading import load_checkpoint


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


def check_pretrained(backbone: Backbone) -> None:
    """Checks the pretrained weights of a backbone on the meta device.

    Raises:
        UsageError: If they cannot be read or do not match.
    """
    inits: Any = backbone.init_cfg
    for init in inits:
        if init['type'] != 'PretrainedBackbone':
            continue
        checkpoint = init.get('checkpoint')
        if not isinstance(checkpoint, str):
            raise UsageError(f'model.backbone.init_cfg.checkpoint must be a file or a URL, got {checkpoint!r}')
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings('ignore', '.*copying from a non-meta parameter.*', UserWarning)
                load_checkpoint(backbone, read_checkpoint(checkpoint), checkpoint, prefix=init.get('prefix'))
        except CheckpointError as error:
            raise UsageError(f'pretrained weights: {error}; see docs/zoo.md for available weights, or start from '
                             'random weights with model.backbone.init_cfg=None') from error
