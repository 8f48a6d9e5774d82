"""Neck that builds a feature pyramid from the last map of a plain backbone."""
from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of ``(B, C, H, W)``."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Simple feature pyramid of ViTDet (Li et al., ECCV 2022, arXiv 2203.16527, figure 2c).

    The last map of a plain backbone is upsampled and downsampled, without lateral connections. From a map of stride 16,
    the pyramid has maps of strides 4, 8, 16 and 32. Each additional map is the previous map subsampled by 2.

    Args:
        in_channels (int | Sequence[int]): Channels of the last map, or of each map of the backbone.
        out_channels (int): Channels of the pyramid.
        num_outs (int): Number of maps in the pyramid, at least 4.
        init_cfg (dict | list[dict] | None): Initialization config of MMEngine.

    Raises:
        ValueError: If ``num_outs`` is less than 4, or if the channels of the last map are not a multiple of 4.

    Example:
        >>> import torch
        >>> from mmvit_backbones.necks import SimpleFeaturePyramid
        >>> maps = SimpleFeaturePyramid(32, 16)((torch.rand(1, 32, 5, 7), ))
        >>> [tuple(x.shape) for x in maps]
        [(1, 16, 20, 28), (1, 16, 10, 14), (1, 16, 5, 7), (1, 16, 3, 4), (1, 16, 2, 2)]
    """

    def __init__(self, in_channels: int | Sequence[int], out_channels: int = 256, num_outs: int = 5,
                 init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg)
        channels = in_channels if isinstance(in_channels, int) else in_channels[-1]
        if num_outs < 4:
            raise ValueError(f'num_outs must be at least 4, got {num_outs}')
        if channels % 4:
            raise ValueError(f'in_channels must be a multiple of 4, got {channels}')
        self.num_outs = num_outs
        self.scales = nn.ModuleList([
            nn.Sequential(
                nn.ConvTranspose2d(channels, channels // 2, 2, 2), ChannelNorm(channels // 2, eps=1e-6), nn.GELU(),
                nn.ConvTranspose2d(channels // 2, channels // 4, 2, 2)),
            nn.ConvTranspose2d(channels, channels // 2, 2, 2),
            nn.Identity(),
            nn.MaxPool2d(2, 2, ceil_mode=True),
        ])
        self.projections = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, out_channels, 1, bias=False), ChannelNorm(out_channels, eps=1e-6),
                nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False), ChannelNorm(out_channels, eps=1e-6))
            for width in (channels // 4, channels // 2, channels, channels))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Returns ``num_outs`` maps with 4, 2, 1, 1/2, ... times the sides of the last map (rounded up)."""
        outs = [project(scale(maps[-1])).contiguous() for scale, project in zip(self.scales, self.projections)]
        while len(outs) < self.num_outs:
            outs.append(F.max_pool2d(outs[-1], 1, stride=2))
        return tuple(outs)
