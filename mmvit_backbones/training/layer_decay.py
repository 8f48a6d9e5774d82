"""Learning rates that decay from the head to the stem, for all backbones of this package in any framework.

Layer-wise decay follows BEiT (Bao et al., ICLR 2022, arXiv 2106.08254). Stage-wise decay follows ConvNeXt's UperNet
recipe (Liu et al., CVPR 2022, arXiv 2201.03545), which ResTv2 also uses.
"""
import re

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from ..backbones import Backbone

DECAY_TYPES = ('layer_wise', 'stage_wise')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(DefaultOptimWrapperConstructor):
    """Multiplies the learning rate of each parameter by ``decay_rate ** depth``.

    Depth is counted from the output of the backbone in blocks (``'layer_wise'``) or stages (``'stage_wise'``): output
    norms, necks and heads have depth 0, the last block or stage has depth 1, and the stem has the largest depth.
    Norms, biases and other vectors have no weight decay, unless ``paramwise_cfg`` sets it. The parameter groups are
    logged.

    Args:
        optim_wrapper_cfg (dict): Config of the optimizer wrapper.
        paramwise_cfg (dict): ``decay_rate`` (float, in (0, 1]), ``decay_type`` (``'layer_wise'``, the default, or
            ``'stage_wise'``), and all options of MMEngine's default constructor. ``norm_decay_mult``,
            ``bias_decay_mult`` and ``flat_decay_mult`` default to 0.

    Raises:
        ValueError: If an option is missing or invalid, or the model has no backbone of this package.

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
            super().add_params(params, module, prefix, is_dcn_module)
            return
        single, groups = [], {}
        super().add_params(single, module, is_dcn_module=is_dcn_module)
        scales = self.scales(module)
        for group in single:
            parameter, = group.pop('params')
            scale = scales.get(id(parameter), 1.)
            options = {**group, 'lr': group.get('lr', self.base_lr) * scale, 'lr_scale': scale}
            if self.base_wd is not None:
                options.setdefault('weight_decay', self.base_wd)
            key = tuple(sorted((name, repr(value)) for name, value in options.items()))
            groups.setdefault(key, dict(options, params=[]))['params'].append(parameter)
        params += sorted(groups.values(), key=lambda group: group['lr_scale'])
        print_log('\n  '.join([
            f'{type(self).__name__}: {self.decay_type} decay {self.decay_rate}, {len(params)} groups',
            *(f'lr {group["lr"]:.3g} (x {group["lr_scale"]:.3g}), {_weight_decay_of(group)}: '
              f'{len(group["params"])} parameters' for group in params)]), logger='current')

    def scales(self, model: nn.Module) -> dict[int, float]:
        """Returns the learning rate factor of each backbone parameter, keyed by the ``id`` of the parameter."""
        backbones = [module for module in model.modules() if isinstance(module, Backbone)]
        scales = {}
        if not backbones:
            backbone = getattr(model, 'backbone', None)
            if backbone is None:
                raise ValueError(f'{type(self).__name__} needs a backbone; {type(model).__name__} has none')
            return self.scales_of_neighbor(backbone)
        for backbone in backbones:
            is_layer_wise = self.decay_type == 'layer_wise'
            depth_of = backbone.get_layer_depth if is_layer_wise else backbone.get_stage_depth
            for name, parameter in backbone.named_parameters():
                depth, num_depths = depth_of(name)
                scales[id(parameter)] = self.decay_rate**(num_depths - 1 - depth)
        return scales


    def scales_of_neighbor(self, backbone: nn.Module) -> dict[int, float]:
        """Returns the factor of each parameter of another library's backbone.

        Its layers are the entries of its module lists and its other modules, in the order of their definition.
        """
        parts = [re.split(r'(?<=\.\d)\.|(?<=\.\d\d)\.|\.[^.]*$', name)[0] for name, _ in backbone.named_parameters()]
        order = {part: depth for depth, part in enumerate(dict.fromkeys(parts))}
        return {id(parameter): self.decay_rate**(len(order) - order[part])
                for parameter, part in zip(backbone.parameters(), parts)}


def _weight_decay_of(group: dict) -> str:
    return f'weight decay {group["weight_decay"]:.3g}' if 'weight_decay' in group else 'default weight decay'
