"""Networks of timm as backbones in configs of mmdet, mmseg and mmpretrain."""
from collections.abc import Sequence
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import timm
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from timm.models import Hiera, HieraDet, group_parameters
from torch import Tensor

from ..errors import UsageError

# Arguments that some networks need.
ANY_SIZE: tuple[dict[str, Any], ...] = dict(strict_img_size=False), dict(dynamic_img_size=True), {}


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """A network of timm for images of any size. A config names this module in ``custom_imports``.

    The maps are those of timm's ``forward_intermediates``, without class and register tokens. Levels are the stages of
    a network, or the blocks of a plain one, such as DINOv3's. What only later levels need is removed.

    Args:
        name (str): Name in ``timm.list_models()``.
        pretrained (bool): Whether to download and load timm's weights. Defaults to False.
        out_indices (Sequence[int] | None): Levels whose maps are returned, ascending; negative ones count from the end.
            Defaults to None: the last level of each stride from 4 pixels, so the last block of a plain network.
        frozen_stages (int): Number of levels that are frozen, together with the stem: their parameters need no
            gradient, and they stay in evaluation mode. 0 freezes the stem, the number of levels all. Defaults to -1:
            nothing is frozen.
        norm (bool): Whether the network's own last norm is applied, to all maps of a plain network, and to the last
            one of others. Networks that normalize after the pooling have none. Defaults to True.
        init_cfg (dict | None): MMEngine's initialization. Defaults to None.
        arguments: Further arguments of ``timm.create_model``.

    Attributes:
        channels (list[int]): Channels of the maps.
        strides (list[int]): Strides of the maps in pixels.

    Raises:
        UsageError: If timm has no network with this name, it has no feature maps, or an argument is out of range.

    Example:
        >>> import torch
        >>> from mmvit_backbones.integrations.timm_backbone import TimmBackbone
        >>> [tuple(x.shape) for x in TimmBackbone('resnet18')(torch.rand(1, 3, 64, 96))]
        [(1, 64, 16, 24), (1, 128, 8, 12), (1, 256, 4, 6), (1, 512, 2, 3)]
    """

    def __init__(self, name: str, pretrained: bool = False, out_indices: Sequence[int] | None = None,
                 frozen_stages: int = -1, norm: bool = True, init_cfg: dict | None = None, **arguments: Any) -> None:
        super().__init__(init_cfg)
        if not timm.is_model(name):
            raise UsageError(f'timm has no network {name!r}; see timm.list_models()')
        for options in ANY_SIZE:
            try:
                self.model: Any = timm.create_model(name, pretrained=pretrained, num_classes=0, **options, **arguments)
                break
            except TypeError:  # the network does not have these arguments
                if not options:
                    raise
        if not hasattr(self.model, 'forward_intermediates'):
            raise UsageError(f'timm:{name} has no forward_intermediates, which returns feature maps')
        self.name, self.frozen_stages = name, frozen_stages
        self.norm = norm and not isinstance(self.model, (Hiera, HieraDet))  # theirs follows the pooling
        infos = list(self.model.feature_info)
        self.levels = [index for index, info in enumerate(infos) if info['reduction'] >= 4]
        self.indices = self._indices(infos, out_indices)
        self.multiple = max(info['reduction'] for info in infos[:self.indices[-1] + 1])
        self.channels = [infos[index]['num_chs'] for index in self.indices]
        self.strides = [infos[index]['reduction'] for index in self.indices]
        if not -1 <= frozen_stages <= len(self.levels):
            raise UsageError(f'frozen_stages must be from -1 to {len(self.levels)} for timm:{name}, got '
                             f'{frozen_stages}')
        self.model.prune_intermediate_layers(self.indices, prune_norm=not self.norm)
        self._frozen = self._freeze([infos[index]['module'] for index in self.levels])
        self.train(self.training)

    def _freeze(self, levels: Sequence[str]) -> list[str]:
        """Freezes the stem and the first levels, given the modules of all, and returns the names of frozen modules."""
        if self.frozen_stages == len(levels):
            self.requires_grad_(False)
        elif self.frozen_stages >= 0:
            prefixes = tuple(f'model.{level}.' for level in levels[:self.frozen_stages])
            depths = {name: self.get_stage_depth(name)[0] for name, _ in self.named_parameters()}
            last = max((depth for name, depth in depths.items() if name.startswith(prefixes)), default=0)
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(depths[name] > last)
        return [name for name, module in self.named_modules()
                if {parameter.requires_grad for parameter in module.parameters()} == {False}]

    def train(self, mode: bool = True) -> 'TimmBackbone':
        super().train(mode)
        for name in self._frozen:
            for module in self.get_submodule(name).modules():
                module.training = False
        return self

    def _indices(self, infos: list[dict], given: Sequence[int] | None) -> list[int]:
        """Returns the indices of maps in ``feature_info``."""
        if given is None:
            return list({infos[index]['reduction']: index for index in self.levels}.values())
        count = len(self.levels)
        if not given or not all(type(index) is int and -count <= index < count for index in given):
            raise UsageError(f'out_indices must be from {-count} to {count - 1} for timm:{self.name}, got {given}')
        taken = [index % count for index in given]
        if taken != sorted(set(taken)):
            raise UsageError(f'out_indices must be in ascending order, got {given}')
        return [self.levels[index] for index in taken]

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Returns the depth of a parameter, 0 for the stem, and the number of depths, by timm's ``group_matcher``."""
        return self._depths[False][param_name.removeprefix(prefix)]

    def get_stage_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Returns the depth of a parameter like :meth:`get_layer_depth`, but counts each stage as one layer."""
        return self._depths[True][param_name.removeprefix(prefix)]

    @cached_property
    def _depths(self) -> list[dict[str, tuple[int, int]]]:
        """The depths of all parameters in layers and in stages."""
        if not hasattr(self.model, 'group_matcher'):
            raise UsageError(f'timm:{self.name} has no group_matcher, which defines its layers; turn layer decay off '
                             'by decay_rate=1')
        names = [name for name, _ in self.model.named_parameters()]
        after = 'after_all_layers'  # belongs to no layer, as the names of heads
        named: Any = SimpleNamespace(named_parameters=lambda: [(name, name) for name in [*names, after]])
        kinds: Any = [group_parameters(named, self.model.group_matcher(coarse=coarse), reverse=True)
                      for coarse in (False, True)]
        return [{f'model.{name}': (groups[name], groups[after] + 1) for name in names} for groups in kinds]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns one map ``(B, C, H / stride, W / stride)`` per index; pads images to multiples of their stride."""
        height, width = images.shape[2:]
        images = F.pad(images, (0, -width % self.multiple, 0, -height % self.multiple))
        return tuple(self.model.forward_intermediates(images, indices=self.indices, norm=self.norm,
                                                      intermediates_only=True))
