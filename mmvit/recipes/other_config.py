"""Puts another backbone into a config of the user's, for comparisons."""
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS

from mmvit_backbones.engine import LayerDecayConstructor
from mmvit_backbones.errors import UsageError

from .networks import Network


def with_backbone(cfg: Config, network: Network, custom_hooks: Sequence[dict] = (),
                  optim_wrapper: dict | None = None) -> Config:
    """Returns a config with another backbone, and with a neck or heads for the channels of its maps.

    ``optim_wrapper`` replaces the config's.

    The channels are set where mmpretrain's classifiers, mmdet's detectors with a pyramid and mmseg's segmenters have
    them: ``head.in_channels``, ``neck.in_channels``, and ``in_channels`` and ``in_index`` of the decode heads.

    Raises:
        UsageError: If the model has none of these.
    """
    model = cfg.model.to_dict()
    model['backbone'] = network.backbone
    if cfg.default_scope == 'mmpretrain':
        model['head']['in_channels'] = network.maps()[-1][0]
    else:
        channels, strides, neck = network.pyramid(5 if cfg.default_scope == 'mmdet' else 4)
        if neck:
            model['neck'] = neck
            _set_strides(model, strides)
        elif cfg.default_scope == 'mmdet':
            _require(cfg, model, 'neck', 'in_channels')['in_channels'] = channels
        if cfg.default_scope == 'mmseg':
            head = _require(cfg, model, 'decode_head', 'in_channels')
            head['in_channels'] = channels
            if 'in_index' in head:
                head['in_index'] = list(range(len(channels)))
            if model.get('auxiliary_head'):
                third = min(2, len(channels) - 1)
                model['auxiliary_head'].update(in_channels=channels[third], in_index=third)
    settings: dict[str, Any] = {**cfg.to_dict(), 'model': model}
    if optim_wrapper is not None:
        settings['optim_wrapper'] = optim_wrapper
    if network.variant or network.is_pretrained and network.backbone['type'] == 'TimmBackbone':
        where = model if 'data_preprocessor' in model else settings
        order = 'to_rgb' if cfg.default_scope == 'mmpretrain' else 'bgr_to_rgb'
        where['data_preprocessor'] = {**(where.get('data_preprocessor') or {}), 'mean': network.mean,
                                      'std': network.std, order: network.to_rgb}
    imports = (settings.get('custom_imports') or {}).get('imports') or []
    settings['custom_imports'] = dict(imports=[*imports, *network.imports])
    settings['custom_hooks'] = [*(settings.get('custom_hooks') or []), *custom_hooks]
    settings.pop('work_dir', None)
    changed = Config(ConfigDict(settings), format_python_code=False)
    return Config(settings, cfg_text=changed.pretty_text, filename=cfg.filename)


def with_level_decay(cfg: Config, layer_decay: float | None) -> dict:
    """Returns the ``optim_wrapper`` of a config with learning rates that decay by levels, which all networks have.

    Args:
        cfg (Config): A config with MMEngine's constructor of optimizers, or with :class:`LayerDecayConstructor`.
        layer_decay (float | None): Factor from each level to the one before it. Defaults to None: the config's.

    Raises:
        UsageError: If ``layer_decay`` is None, and the config has another constructor, whose rates are for the layers
            of certain networks.
    """
    wrapper = cfg.optim_wrapper.to_dict()
    name = wrapper.get('constructor', DefaultOptimWrapperConstructor)
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.get(name) if isinstance(name, str) else name
    if constructor is DefaultOptimWrapperConstructor and layer_decay in (None, 1):
        return wrapper
    if layer_decay is None and constructor is not LayerDecayConstructor:
        raise UsageError(f'optim_wrapper.constructor {name} of {cfg.filename} may give other networks other learning '
                         'rates; pass layer_decay=0.9 (--layer-decay 0.9) for the same decay in all networks, or 1 for '
                         'none')
    options = wrapper.get('paramwise_cfg') or {}
    rate = options.get('decay_rate') if layer_decay is None else layer_decay
    return {**wrapper, 'constructor': 'LayerDecayConstructor',
            'paramwise_cfg': {**options, 'decay_rate': rate, 'decay_type': 'level_wise'}}


def _set_strides(model: dict, strides: list[float]) -> None:
    """Sets the strides of anchors and RoIs, where a detector of mmdet has them."""
    for head in 'rpn_head', 'bbox_head':
        if anchors := (model.get(head) or {}).get('anchor_generator'):
            anchors['strides'] = strides
    roi_head = model.get('roi_head') or {}
    for part in 'bbox_roi_extractor', 'mask_roi_extractor':
        if extractor := roi_head.get(part):
            extractor['featmap_strides'] = strides[:len(extractor['featmap_strides'])]


def _require(cfg: Config, model: dict, part: str, key: str) -> dict:
    if not isinstance(model.get(part), dict) or key not in model[part]:
        raise UsageError(f'{cfg.filename} must have model.{part}.{key} to take another backbone')
    return model[part]
