"""Layers of the networks.

Maps are channels-last, ``(B, H, W, C)``. Unless documented otherwise, these arguments have the same meaning in all
layers:

- ``in_channels`` and ``channels`` (int): channels of the input and output; without ``in_channels``, they are equal.
- ``num_heads`` (int): number of attention heads.
- ``window_size`` (int): side of a window in tokens.
- ``mlp_ratio`` (float): hidden channels of the MLP, relative to ``channels``.
- ``drop_rate`` (float): dropout rate.
- ``drop_path`` (float): probability of dropping a residual branch (stochastic depth).
- ``eps`` (float): epsilon of the norms.
- ``position`` (nn.Module | None): position encoding before the attention's LayerNorm, such as :class:`ContextPosition`.
"""
from .block import BaseBlock, Block, Mlp, ResidualAttentionBlock, init_linear, trunc_normal_
from .checkpointing import checkpointed
from .decomposed_position import DecomposedPosition
from .drop_path import DropPath, drop_path_schedule
from .patch_embed import PatchEmbed, TokenEmbed
from .plain_attention import Gate, GlobalAttention, LinearAttention, WindowAttention, layers_with_gate
from .position_bias import RelativePositionTable
from .position_embedding import PositionEmbedding
from .varied_size_attention import VariedSizeWindowAttention, reset_projections
from .vitae_cell import ContextPosition, ConvBranch, ConvLayer, NormalCell, PyramidReduction, ReductionCell

__all__ = [
    'BaseBlock', 'Block', 'ContextPosition', 'ConvBranch', 'ConvLayer', 'DecomposedPosition', 'DropPath', 'Gate',
    'GlobalAttention', 'LinearAttention', 'Mlp', 'NormalCell', 'PatchEmbed',
    'PositionEmbedding', 'PyramidReduction', 'ReductionCell', 'RelativePositionTable',
    'ResidualAttentionBlock', 'TokenEmbed', 'VariedSizeWindowAttention', 'WindowAttention', 'checkpointed',
    'drop_path_schedule', 'init_linear', 'layers_with_gate', 'reset_projections', 'trunc_normal_'
]
