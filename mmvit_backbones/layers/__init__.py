"""Layers that several networks share, one idea per file."""
from .attention import GlobalAttention, LinearAttention, WindowAttention
from .block import Block
from .decomposed_position import DecomposedPosition
from .drop_path import DropPath, drop_path_schedule
from .gate import Gate
from .init import init_linear, trunc_normal_
from .mlp import Mlp
from .norm import LayerNorm
from .patch_embed import PatchEmbed
from .position_bias import RelativePositionBias, RelativePositionTable
from .position_embedding import PositionEmbedding
from .varied_size_attention import VariedSizeWindowAttention
from .vitae_cell import ContextPosition, ConvBranch, NormalCell, PyramidReduction, ReductionCell

__all__ = [
    'Block', 'ContextPosition', 'ConvBranch', 'DecomposedPosition', 'DropPath', 'Gate', 'GlobalAttention', 'LayerNorm',
    'LinearAttention', 'Mlp', 'NormalCell', 'PatchEmbed', 'PositionEmbedding', 'PyramidReduction', 'ReductionCell',
    'RelativePositionBias', 'RelativePositionTable', 'VariedSizeWindowAttention', 'WindowAttention',
    'drop_path_schedule', 'init_linear', 'trunc_normal_'
]
