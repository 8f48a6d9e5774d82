"""Networks of timm as backbones in mmpretrain, mmdet and mmseg, for comparisons."""
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import timm
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from timm.models import group_parameters
from torch import Tensor

from ..errors import UsageError

# Arguments that some networks need.
ANY_SIZE: tuple[dict[str, Any], ...] = dict(strict_img_size=False), dict(dynamic_img_size=True), {}


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """A network of timm that returns a map of each stride from 4 pixels, or of a plain network its last map.

    Args:
        name (str): Name in ``timm.list_models()``.
        pretrained (bool): Whether to download and load timm's default weights. Defaults to False.

    Raises:
        UsageError: If timm has no network with this name, or the network has no feature maps.

    Example:
        >>> import torch
        >>> from mmvit_backbones.integrations.timm_backbone import TimmBackbone
        >>> [tuple(x.shape) for x in TimmBackbone('resnet18')(torch.rand(1, 3, 64, 96))]
        [(1, 64, 16, 24), (1, 128, 8, 12), (1, 256, 4, 6), (1, 512, 2, 3)]
    """

    def __init__(self, name: str, pretrained: bool = False) -> None:
        super().__init__()
        if not timm.is_model(name):
            raise UsageError(f'timm has no network {name!r}; see timm.list_models()')
        for options in ANY_SIZE:
            try:
                self.model: Any = timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
                break
            except TypeError:  # the network does not have these arguments
                continue
        if not hasattr(self.model, 'forward_intermediates'):
            raise UsageError(f'timm:{name} has no forward_intermediates, which returns feature maps')
        last = {info['reduction']: index for index, info in enumerate(self.model.feature_info)}
        self.name = name
        self.indices = [index for reduction, index in last.items() if reduction >= 4]
        self.multiple = max(last)
        self.model.prune_intermediate_layers(self.indices, prune_norm=True)

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
        """Returns one map ``(B, C, H / stride, W / stride)`` per stride; pads images to multiples of the largest."""
        height, width = images.shape[2:]
        images = F.pad(images, (0, -width % self.multiple, 0, -height % self.multiple))
        return tuple(self.model.forward_intermediates(images, indices=self.indices, intermediates_only=True))
