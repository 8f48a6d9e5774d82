"""Reduction cells and normal cells, which run attention and convolutions in parallel.

From ViTAE (Xu et al., NeurIPS 2021, arXiv 2106.03348) and ViTAEv2 (Zhang et al., IJCV 2023, arXiv 2202.10108).
"""
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.window import pad_to_multiple
from ..utils import versions
from .block import Mlp
from .drop_path import DropPath

REDUCTION_EPS = 1e-5
NORMAL_EPS = 1e-6


class PyramidSettings(TypedDict):
    kernel_size: int
    stride: int
    dilations: tuple[int, ...]


# Settings of the pyramid reduction module in each stage; ViTAE uses the first three.
PYRAMIDS = (
    PyramidSettings(kernel_size=7, stride=4, dilations=(1, 2, 3, 4)),
    PyramidSettings(kernel_size=3, stride=2, dilations=(1, 2, 3)),
    PyramidSettings(kernel_size=3, stride=2, dilations=(1, 2)),
    PyramidSettings(kernel_size=3, stride=2, dilations=(1, 2)),
)


class PyramidReduction(nn.Module):
    """Pyramid reduction module: parallel dilated convolutions, concatenation and GELU.

    ``channels`` is the number of output channels of each convolution, and ``out_channels`` of their concatenation.

    Paper: arXiv 2106.03348, section 3.3.
    """

    def __init__(self, in_channels: int, channels: int, kernel_size: int, stride: int,
                 dilations: Sequence[int]) -> None:
        super().__init__()
        self.stride = stride
        self.out_channels = len(dilations) * channels
        self.convs = nn.ModuleList(
            nn.Conv2d(in_channels, channels, kernel_size, stride, dilation=d,
                      padding=math.ceil(((kernel_size - 1) * d + 1 - stride) / 2)) for d in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(B, H, W, in_channels)`` to ``(B, H / stride, W / stride, out_channels)``."""
        x = x.permute(0, 3, 1, 2)
        return versions.gelu(torch.cat([conv(x) for conv in self.convs], dim=1)).permute(0, 2, 3, 1)


def first_convs(cell: str) -> tuple[str, ...]:
    """Returns the names of the convolutions that read the images in the first reduction cell, whose name is given."""
    dilated = (f'{cell}.pyramid.convs.{i}' for i in range(len(PYRAMIDS[0]['dilations'])))
    return *dilated, f'{cell}.conv_branch.convs.0'


@dataclass(frozen=True)
class ConvLayer:
    """Settings of one convolution of a :class:`ConvBranch`."""
    channels: int
    stride: int = 1
    norm: bool = True  # whether batch norm follows; ignored for the last convolution


class ConvBranch(nn.Module):
    """Parallel convolutional module: 3 x 3 convolutions with batch norm and SiLU in between.

    Paper: arXiv 2106.03348, section 3.3.
    Paper: arXiv 2106.03348, section 3.4.

    Args:
        groups (int): Groups of each convolution.
        layers (Sequence[ConvLayer]): The convolutions, in order.
        last_act (bool): Whether SiLU also follows the last convolution.
    """

    def __init__(self, in_channels: int, groups: int, layers: Sequence[ConvLayer], last_act: bool = False) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        for layer in layers:
            self.convs.append(nn.Conv2d(in_channels, layer.channels, 3, layer.stride, padding=1, groups=groups))
            in_channels = layer.channels
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(layer.channels) if layer.norm else nn.Identity() for layer in layers[:-1])
        self.last_act = last_act

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(B, H, W, in_channels)`` to ``(B, H / s, W / s, channels)``, with ``s`` the product of all strides."""
        first, *others = self.convs
        x = first(x.permute(0, 3, 1, 2))
        for norm, conv in zip(self.norms, others):
            x = conv(F.silu(norm(x)))
        return (F.silu(x) if self.last_act else x).permute(0, 2, 3, 1)


class ContextPosition(nn.Module):
    """Position encoding that adds a depth-wise 7 x 7 convolution of the input (CPVT, Chu et al., arXiv 2102.10882).

    Paper: arXiv 2204.08446, figure 3c.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape ``(B, H, W, channels)``."""
        return x + self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ReductionCell(nn.Module):
    """Reduction cell: pyramid reduction and attention in parallel with convolutions, then an MLP.

    Paper: arXiv 2106.03348, section 3.3.

    Args:
        pyramid (PyramidReduction): Pyramid reduction, with the stride of the cell. Inputs are zero-padded at the right
            and bottom to a multiple of the stride.
        attn (nn.Module): Attention from ``pyramid.out_channels`` to ``channels``.
        conv_branch (ConvBranch): Convolutions of the cell's input, in parallel with ``pyramid`` and ``attn``.
        drop_rate (float): Dropout rate after the MLP.
    """

    def __init__(self, channels: int, pyramid: PyramidReduction, attn: nn.Module, conv_branch: ConvBranch,
                 drop_rate: float = 0., position: nn.Module | None = None) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.position = position or nn.Identity()
        self.norm1 = nn.LayerNorm(pyramid.out_channels, eps=REDUCTION_EPS)
        self.attn = attn
        self.conv_branch = conv_branch
        self.norm2 = nn.LayerNorm(channels, eps=REDUCTION_EPS)
        self.mlp = Mlp(channels, channels)
        self.dropout = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(B, H, W, C)`` to ``(B, ceil(H / stride), ceil(W / stride), channels)``."""
        x = pad_to_multiple(x, self.pyramid.stride)
        x = self.attn(self.norm1(self.position(self.pyramid(x)))) + self.conv_branch(x)
        return x + self.dropout(self.mlp(self.norm2(x)))


class BaseNormalCell(nn.Module):
    """Base class of normal cells; subclasses define ``forward``.

    Dropout is applied after attention, and inside and after the MLP. Stochastic depth drops attention, the convolutions
    and the MLP independently.
    """

    def __init__(self, channels: int, attn: nn.Module, conv_branch: ConvBranch, mlp_ratio: float, drop_rate: float,
                 drop_path: float, position: nn.Module | None = None) -> None:
        super().__init__()
        self.position = position or nn.Identity()
        self.norm1 = nn.LayerNorm(channels, eps=NORMAL_EPS)
        self.attn = attn
        self.conv_branch = conv_branch
        self.norm2 = nn.LayerNorm(channels, eps=NORMAL_EPS)
        self.mlp = Mlp(channels, int(mlp_ratio * channels), drop_rate)
        self.dropout = nn.Dropout(drop_rate)
        self.drop_path = DropPath(drop_path)


class NormalCell(BaseNormalCell):
    """Normal cell: attention in parallel with convolutions, then an MLP, both with a residual connection.

    Paper: arXiv 2106.03348, section 3.4.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape ``(B, H, W, channels)``."""
        attended = self.dropout(self.attn(self.norm1(self.position(x))))
        x = self.drop_path(self.drop_path(x, attended), self.conv_branch(x))
        return self.drop_path(x, self.mlp(self.norm2(x)))
