"""Backbones as timm makes them with ``features_only=True``. Importing registers all networks as ``mmvit_NAME``.

https://huggingface.co/docs/timm/feature_extraction
"""
from collections.abc import Callable, Sequence

from timm.models import FeatureInfo, register_model
from torch import Tensor, nn

from ..backbones import Backbone
from ..models import get_model
from ..zoo import list_models


class TimmFeatures(nn.Module):
    """A backbone with timm's ``feature_info``.

    Args:
        backbone (Backbone): Any of this package; its ``out_indices`` are timm's.

    Example:
        >>> import timm, torch
        >>> import mmvit_backbones.adapters.timm
        >>> model = timm.create_model('mmvit_reswin_tiny', features_only=True, out_indices=(1, 3))
        >>> model.feature_info.channels(), model.feature_info.reduction()
        ([192, 768], [8, 32])
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        stages = zip(backbone.channels, backbone.strides)
        self.feature_info = FeatureInfo(
            [dict(num_chs=channels, reduction=stride, module=f'stage{i}') for i, (channels, stride) in
             enumerate(stages)], backbone.out_indices)

    def forward(self, images: Tensor) -> list[Tensor]:
        """``(B, in_chans, H, W)`` to one NCHW map per entry of ``out_indices``."""
        return list(self.backbone(images))


def entry_point(name: str) -> Callable[..., TimmFeatures]:
    """What timm calls to make the network ``mmvit_{name}``; further arguments are those of the backbone."""

    def create(pretrained: bool = False, pretrained_cfg: dict | None = None, pretrained_cfg_overlay: dict | None = None,
               cache_dir: str | None = None, features_only: bool = False, in_chans: int = 3,
               out_indices: Sequence[int] | None = None, checkpoint: str | None = None, **arguments) -> TimmFeatures:
        if not features_only:
            raise ValueError(f'mmvit_{name} gives maps only: features_only must be True')
        if pretrained or pretrained_cfg or pretrained_cfg_overlay or cache_dir:
            raise ValueError(f'mmvit_{name} downloads no weights: pretrained must be False; checkpoint takes a file')
        if out_indices is not None:
            arguments['out_indices'] = out_indices
        return TimmFeatures(get_model(name, 'backbone', checkpoint, in_channels=in_chans, **arguments))

    create.__name__ = f'mmvit_{name}'
    return create


__all__ = ['TimmFeatures']
for _name in list_models():
    register_model(entry_point(_name))
