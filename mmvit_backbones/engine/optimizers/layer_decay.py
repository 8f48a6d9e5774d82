"""Learning rates for what is new and what is pretrained, and that decay from the head to the stem, in any framework.

Layer-wise decay follows BEiT (Bao et al., ICLR 2022, arXiv 2106.08254). Stage-wise decay follows ConvNeXt's UperNet
recipe (Liu et al., CVPR 2022, arXiv 2201.03545), which ResTv2 also uses. A lower rate for the pretrained backbone is
that of DETR (Carion et al., ECCV 2020, arXiv 2005.12872).
"""
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from ...backbones import Backbone
from ...utils.names import ends_of, is_in

DECAY_TYPES = 'layer_wise', 'stage_wise'


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(DefaultOptimWrapperConstructor):
    """Multiplies the learning rate of each parameter by ``decay_rate ** depth``, and of what is pretrained by a factor.

    Depth is counted from the output of the backbone in blocks (``'layer_wise'``) or stages (``'stage_wise'``): output
    norms, necks and heads have depth 0, the last block or stage has depth 1, and the stem has the largest depth. See
    :func:`depths_of` for the backbones of other libraries. What is new has ``optimizer.lr``; the rest has it times
    ``pretrained_mult`` times the decay.
    Norms, biases, scalars and other vectors have no weight decay, nor have position tables and tokens (see
    :meth:`Backbone.no_weight_decay`), unless ``paramwise_cfg`` sets it. The parameter groups are counted in the log.

    Args:
        optim_wrapper_cfg (dict): Config of the optimizer wrapper.
        paramwise_cfg (dict): ``decay_rate`` (float, in (0, 1]), ``decay_type`` (``'layer_wise'``, the default,
            or ``'stage_wise'``), ``pretrained_mult`` (float, above 0; 1 by default), ``new`` (names of
            modules and parameters that do not start from weights; by default, all outside of the backbone), and all
            options of MMEngine's default constructor.
            ``norm_decay_mult``, ``bias_decay_mult`` and ``flat_decay_mult`` default to 0.

    Raises:
        ValueError: If an option is missing or invalid, or the model has no backbone that defines its layers.

    Example:
        >>> optim_wrapper = dict(
        ...     optimizer=dict(type='AdamW', lr=1.5e-4, weight_decay=0.05),
        ...     constructor='LayerDecayConstructor',
        ...     paramwise_cfg=dict(decay_rate=0.9, decay_type='stage_wise'))
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        options = dict(paramwise_cfg or {})
        decay_rate = options.get('decay_rate')
        if decay_rate is None or not 0 < decay_rate <= 1:
            raise ValueError(f'paramwise_cfg.decay_rate must be above 0 and at most 1, got {decay_rate}')
        self.decay_rate: float = decay_rate
        self.pretrained_mult: float = options.get('pretrained_mult', 1.)
        if not self.pretrained_mult > 0:
            raise ValueError(f'paramwise_cfg.pretrained_mult must be above 0, got {self.pretrained_mult}')
        self.new: Sequence[str] | None = options.get('new')
        if isinstance(self.new, str):
            raise ValueError(f'paramwise_cfg.new must be a list of names, got {self.new!r}')
        self.decay_type = options.get('decay_type', 'layer_wise')
        if self.decay_type not in DECAY_TYPES:
            raise ValueError(f'paramwise_cfg.decay_type must be one of {DECAY_TYPES}, got {self.decay_type!r}')
        if optim_wrapper_cfg['optimizer'].get('weight_decay') is not None:
            options = {'norm_decay_mult': 0., 'bias_decay_mult': 0., 'flat_decay_mult': 0., **options}
        super().__init__(optim_wrapper_cfg, options)
        if self.base_lr is None:
            raise ValueError('optimizer.lr must be set for LayerDecayConstructor')

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '',
                   is_dcn_module: int | float | None = None) -> None:
        """Adds a group per combination of learning rate and options; MMEngine calls this method for each submodule."""
        if prefix:
            if any(parameter.requires_grad for parameter in module.parameters()):  # else MMEngine warns of each one
                super().add_params(params, module, prefix, is_dcn_module)
            return
        single, groups = [], {}
        super().add_params(single, module, is_dcn_module=is_dcn_module)
        scales, exempt, flat = self.scales(module), self.exempt(module), self.paramwise_cfg.get('flat_decay_mult')
        # MMEngine adds a module that several ones share, as CoaT's position encodings, with each of them.
        for group in {id(group['params'][0]): group for group in single}.values():
            parameter, = group.pop('params')
            if self.base_wd and id(parameter) in exempt:
                group['weight_decay'] = 0.
            if self.base_wd is not None and flat is not None and not parameter.ndim:  # which MMEngine decays
                group.setdefault('weight_decay', flat * self.base_wd)
            scale = scales.get(id(parameter), 1.)
            options = {**group, 'lr': group.get('lr', self.base_lr) * scale, 'lr_scale': scale}
            if self.base_wd is not None:
                options.setdefault('weight_decay', self.base_wd)
            key = tuple(sorted((name, repr(value)) for name, value in options.items()))
            groups.setdefault(key, dict(options, params=[]))['params'].append(parameter)
        params += sorted(groups.values(), key=lambda group: group['lr_scale'])
        rates = [group['lr'] for group in params] or [self.base_lr]
        print_log(f'{type(self).__name__}: {self.decay_type} decay {self.decay_rate}, {len(params)} groups with rates '
                  f'from {min(rates):.3g} to {max(rates):.3g}', logger='current')

    def exempt(self, model: nn.Module) -> set[int]:
        """Returns the ``id`` of position tables and tokens without weight decay: those that no ``custom_keys`` name."""
        keys = self.paramwise_cfg.get('custom_keys', {})
        found = set()
        for path, module in model.named_modules():
            tables: Any = getattr(module, 'tables_tokens_and_gates', set)
            found |= {id(module.get_parameter(name)) for name in tables()
                      if not any(key in f'{path}.{name}' for key in keys)}
        return found

    def scales(self, model: nn.Module) -> dict[int, float]:
        """Returns the learning rate factor of each parameter, keyed by the ``id`` of the parameter.

        Raises:
            ValueError: If a name in ``new`` is not of a part of the model.
        """
        backbones = {name: module for name, module in model.named_modules() if isinstance(module, Backbone)}
        backbones = backbones or {name: module for name, module in model.named_children() if name == 'backbone'}
        if not backbones:
            raise ValueError(f'{type(self).__name__} needs a backbone; {type(model).__name__} has none')
        names = dict(model.named_parameters())
        known = {name[:end] for name in names for end in ends_of(name)}
        if unknown := [name for name in self.new or () if name not in known]:
            raise ValueError(f'paramwise_cfg.new has {unknown[0]!r}, which is no part of {type(model).__name__}')
        distances: dict[int, int] = {}  # from the output
        for backbone in backbones.values():
            depths = {} if self.decay_rate == 1 else depths_of(backbone, self.decay_type)
            for name, parameter in backbone.named_parameters():
                depth, num_depths = depths.get(name, (0, 1))  # without decay, all are at the output
                distances[id(parameter)] = num_depths - 1 - depth
        return {id(parameter): self.pretrained_mult * self.decay_rate**distances.get(id(parameter), 0)
                for name, parameter in names.items()
                if not (is_in(name, self.new) if self.new is not None else id(parameter) not in distances)}


def depths_of(backbone: nn.Module, decay_type: str) -> dict[str, tuple[int, int]]:
    """Returns the depth of each parameter, 0 for the stem, and the number of depths, as the network defines them.

    Networks define their layers by ``get_layer_depth(name)``, as mmpretrain's, and their stages by
    ``get_stage_depth(name)``; the stages and blocks of ResNets are those of their ``res_layers``.

    Raises:
        ValueError: If the network does not define its layers.
    """
    depth = depth_functions(backbone)[DECAY_TYPES.index(decay_type)]
    if depth is None:
        kind = dict(layer_wise='layers', stage_wise='stages')[decay_type]
        raise ValueError(f'decay_type={decay_type!r} needs the {kind} of the backbone, which {type(backbone).__name__} '
                         'does not define (by get_layer_depth or get_stage_depth); turn layer decay off by '
                         'decay_rate=1 (mmvit train --layer-decay 1)')
    return {name: depth(name) for name, _ in backbone.named_parameters()}


def depth_functions(backbone: Any) -> tuple[Callable[[str], tuple[int, int]] | None, ...]:
    """Returns functions from a parameter's name to its layer, or its stage, and their number; None if not defined."""
    if hasattr(backbone, 'res_layers'):
        blocks = [f'{stage}.{i}.' for stage in backbone.res_layers for i in range(len(getattr(backbone, stage)))]
        return partial(depth_in, blocks), partial(depth_in, [f'{stage}.' for stage in backbone.res_layers])
    return getattr(backbone, 'get_layer_depth', None), getattr(backbone, 'get_stage_depth', None)


def depth_in(prefixes: Sequence[str], name: str) -> tuple[int, int]:
    """Returns the depth of a parameter of a ResNet: 0 for the stem, else 1 + the index of its part."""
    return 1 + next((i for i, prefix in enumerate(prefixes) if name.startswith(prefix)), -1), len(prefixes) + 2
