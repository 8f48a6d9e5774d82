"""ReViT: a plain Vision Transformer with attention residuals.

ReViT: Enhancing Vision Transformers Feature Diversity with Attention Residual Connections (Diko et al., Pattern
Recognition 2024, arXiv 2402.11301), based on ViT (Dosovitskiy et al., ICLR 2021, arXiv 2010.11929).
"""
from collections.abc import Iterator
from dataclasses import dataclass

from mmengine.registry import MODELS
from torch import Tensor, nn
from typing_extensions import Unpack

from ..layers import (
    Gate,
    Mlp,
    ResidualAttentionBlock,
    TokenEmbed,
    drop_path_schedule,
    init_linear,
    layers_with_gate,
    trunc_normal_,
)
from ..ops.residual_attention import residual_attention
from .arch import PlainArch, resolve_arch
from .base import Backbone, CommonArguments

PATCH_SIZE = 16
NORM_EPS = 1e-6


class ReViTAttention(nn.Module):
    """Attention between all tokens; its logits are blended with the logits of the previous block.

    Paper: arXiv 2402.11301, equation 5.
    """

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, prev_logits: Tensor | None, alpha: Tensor | float) -> tuple[Tensor, Tensor]:
        """Maps tokens ``(B, N, C)`` and the previous logits ``(B, num_heads, N, N)`` to new tokens and blended logits.

        ``alpha`` is the weight of this block's own logits.
        """
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        x, logits = residual_attention(q, k, v, prev_logits=prev_logits, alpha=alpha)
        return self.proj(x.transpose(1, 2).flatten(2)), logits


@dataclass(frozen=True, kw_only=True)
class ReViTArch(PlainArch):
    """Settings of :class:`ReViT`, with the fields of :class:`PlainArch`."""


@MODELS.register_module()
class ReViT(Backbone):
    """ReViT, a Vision Transformer that blends the attention logits of each block with those of the previous block.

    From the second block on, the logits are ``S_i = alpha q k^T / sqrt(d) + (1 - alpha) S_{i-1}``. All blocks share one
    learned ``alpha``. The network has no class token; classifiers average the tokens after the last norm. The only map
    has stride 16 and a LayerNorm; for dense prediction, ``SimpleFeaturePyramid`` builds a pyramid from it. Images are
    zero-padded at the right and bottom to whole patches.

    Departures from the authors' code:

    - Positions are interpolated for images of another size than ``img_size``; the authors' code takes one size.

    Paper: arXiv 2402.11301, variants.

    Args:
        arch (str | ReViTArch | dict): ``'base'``, a :class:`ReViTArch`, or a dict of its fields.
        img_size (int): Side in pixels of the square images for which positions are stored. Positions are interpolated
            for other image sizes, and when loading a checkpoint with another ``img_size``.
        residual_logits (bool): Whether blocks blend their logits with those of the previous block. False gives the
            ablation without attention residuals, which has no ``gate``.
        in_channels, out_indices, frozen_stages, norm_eval, with_cp, init_cfg: As in :class:`Backbone`.
        drop_path_rate (float): Stochastic depth rate of the last block; rates rise linearly from 0 at the first block.

    Example:
        >>> import torch
        >>> from mmvit_backbones.backbones import ReViT
        >>> [tuple(x.shape) for x in ReViT('base')(torch.rand(1, 3, 64, 96))]
        [(1, 768, 4, 6)]
    """

    no_decay = ('pos_embed', 'gate.weight')
    optional = (r'gate\.weight', )  # which ViT lacks
    plain_blocks = 'blocks'
    arch_zoo: dict[str, ReViTArch] = {'base': ReViTArch(embed_dims=768, depth=12, num_heads=12, mlp_ratio=4)}

    def __init__(self, arch: str | ReViTArch | dict = 'base', *, img_size: int = 224, residual_logits: bool = True,
                 drop_path_rate: float = 0.2, **common: Unpack[CommonArguments]) -> None:
        arch = resolve_arch(arch, self.arch_zoo)
        channels = arch.embed_dims
        super().__init__(channels=[channels], strides=[PATCH_SIZE], **common)

        self.patch_embed = TokenEmbed(self.in_channels, channels, PATCH_SIZE, img_size, class_token=False)
        drop_paths, = drop_path_schedule(drop_path_rate, [arch.depth])
        self.gate = Gate() if residual_logits else None
        self.blocks = nn.ModuleList(
            ResidualAttentionBlock(
                channels, ReViTAttention(channels, arch.num_heads), Mlp(channels, int(arch.mlp_ratio * channels)), rate,
                NORM_EPS)
            for rate in drop_paths)
        self.add_output_norms(NORM_EPS)
        self.init_layers()
        self.freeze()

    def init_layers(self) -> None:
        self.apply(init_linear)
        trunc_normal_(self.patch_embed.positions.pos_embed)

    def iter_blocks(self, images: Tensor) -> Iterator[Tensor]:
        x, height, width = self.patch_embed(images)
        logits, alpha = None, 1. if self.gate is None else self.gate(x)
        for block in self.blocks:
            x, new_logits = self.run_block(block, x, logits, alpha)
            logits = None if self.gate is None else new_logits
            yield x.unflatten(1, (height, width))

    def iter_stages(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        x = images
        for x in self.iter_blocks(images):  # noqa: B007  only the last map is needed
            pass
        yield x, self.output_norm(0)(x)

    def stage_layers(self, stage: int) -> list[list[nn.Module]]:
        return layers_with_gate(self.blocks, self.gate)
