"""Layers that several networks share, one idea per file."""
from ..ops.window import (
    at_least,
    at_most,
    crop,
    cyclic_shift,
    needs_padding,
    pad_to_multiple,
    shifted_window_mask,
    to_multiple,
    window_partition,
    window_reverse,
)
from .attention import GlobalAttention, LinearAttention, WindowAttention
from .decomposed_position import DecomposedPosition
from .drop_path import DropPath, drop_path_schedule
from .gate import Gate
from .init import trunc_normal_
from .mlp import Mlp
from .norm import LayerNorm
from .patch_embed import PatchEmbed
from .position_bias import RelativePositionBias, RelativePositionTable
from .position_embedding import PositionEmbedding
from .varied_size_attention import VariedSizeWindowAttention, reset_projections
from .vitae_cell import ContextPosition, ConvBranch, NormalCell, PyramidReduction, ReductionCell

__all__ = [
    'ContextPosition', 'ConvBranch', 'DecomposedPosition', 'DropPath', 'Gate', 'GlobalAttention', 'LayerNorm',
    'LinearAttention', 'Mlp', 'NormalCell', 'PatchEmbed', 'PositionEmbedding', 'PyramidReduction', 'ReductionCell',
    'RelativePositionBias', 'RelativePositionTable', 'VariedSizeWindowAttention', 'WindowAttention', 'at_least',
    'at_most', 'crop', 'cyclic_shift', 'drop_path_schedule', 'needs_padding', 'pad_to_multiple',
    'reset_projections', 'shifted_window_mask', 'to_multiple', 'trunc_normal_', 'window_partition', 'window_reverse'
]
