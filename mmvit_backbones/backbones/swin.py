"""Base class of the Swin networks: patch embedding and four stages with patch merging in between.

Swin Transformer (Liu et al., ICCV 2021, arXiv 2103.14030). Subclasses define the blocks.
"""
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from typing_extensions import Unpack

from ..layers import PatchEmbed, drop_path_schedule
from ..ops.window import pad_to_multiple
from .arch import AttentionPyramidArch
from .base import Backbone, CommonArguments

PATCH_SIZE = 4
NORM_EPS = 1e-5


@dataclass(frozen=True, kw_only=True)
class SwinArch(AttentionPyramidArch):
    """Settings of Swin Transformer.

    Attributes:
        embed_dims (int): Channels of the first stage; doubled from stage to stage.
        depths (tuple[int, ...]): Number of blocks of each stage.
        num_heads (tuple[int, ...]): Number of attention heads of each stage.
        window_size (int): Side of the windows in tokens.
        mlp_ratio (float): Hidden channels of the MLPs, relative to the channels of the stage.
    """
    window_size: int


class PatchMerging(nn.Module):
    """Halves the sides of a map and doubles its channels: concatenates 2 x 2 neighbors, normalizes and projects.

    Paper: arXiv 2103.14030, figure 3.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels, eps=NORM_EPS)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = pad_to_multiple(x, 2)
        b, h, w, c = x.shape
        # The published weights expect neighbors (row, column) in the order (0, 0), (1, 0), (0, 1), (1, 1).
        x = x.view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5).reshape(b, h // 2, w // 2, 4 * c)
        return self.reduction(self.norm(x))


class SwinStage(nn.Module):
    """Blocks at one resolution, followed by patch merging or, in the last stage, by ``nn.Identity``."""

    def __init__(self, blocks: Iterable[nn.Module], downsample: nn.Module) -> None:
        super().__init__()
        self.blocks: Any = nn.ModuleList(blocks)
        self.downsample = downsample


class SwinBase(Backbone):
    """Base class of networks that replace the blocks of Swin Transformer.

    Subclasses build their blocks in ``make_block``.

    Paper: arXiv 2103.14030, figure 3.
    """

    def __init__(self, arch: SwinArch, window_size: int | None, drop_path_rate: float,
                 **common: Unpack[CommonArguments]) -> None:
        window_size = arch.window_size if window_size is None else window_size
        if window_size < 1:
            raise ValueError(f'window_size must be at least 1, got {window_size}')
        super().__init__(channels=arch.channels, strides=arch.strides, **common)

        self.window_size = window_size
        self.num_heads = arch.num_heads
        self.patch_embed = PatchEmbed(self.in_channels, self.channels[0], PATCH_SIZE, NORM_EPS)
        stages = []
        for stage, drop_paths in enumerate(drop_path_schedule(drop_path_rate, arch.depths)):
            channels, num_heads = self.channels[stage], self.num_heads[stage]
            blocks = [self.make_block(channels, num_heads, arch.mlp_ratio, drop_path) for drop_path in drop_paths]
            downsample = PatchMerging(channels) if stage + 1 < self.num_stages else nn.Identity()
            stages.append(SwinStage(blocks, downsample))
        self.stages: Any = nn.ModuleList(stages)
        self.add_output_norms(NORM_EPS)
        self.init_layers()
        self.freeze()

    def make_block(self, channels: int, num_heads: int, mlp_ratio: float, drop_path: float) -> nn.Module:
        """Builds a block that keeps the shape ``(B, H, W, channels)``."""
        raise NotImplementedError

    def iter_stages(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        x = self.patch_embed(images)
        for i, stage in enumerate(self.stages):
            for block in stage.blocks:
                x = self.run_block(block, x)
            yield x, self.output_norm(i)(x)
            x = stage.downsample(x)

    def links_after(self, stage: int) -> list[nn.Module]:
        return [self.stages[stage].downsample]

    def stage_layers(self, stage: int) -> list[list[nn.Module]]:
        """Returns one layer per block; the patch merging belongs to the last layer."""
        layers = [[block] for block in self.stages[stage].blocks]
        layers[-1].append(self.stages[stage].downsample)
        return layers
