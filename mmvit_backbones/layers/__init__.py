"""Layers that several networks share, one idea per file."""
from .attention import GlobalAttention, LinearAttention, WindowAttention
from .drop_path import DropPath, drop_path_schedule
from .mlp import Mlp
from .position_bias import RelativePositionBias
from .position_embedding import PositionEmbedding
from .recompute import recompute
from .vitae_cell import ConvBranch, NormalCell, PyramidReduction, ReductionCell
from .window import merge_windows, pad_to_multiple, shift_mask, split_windows

__all__ = [
    'ConvBranch', 'DropPath', 'GlobalAttention', 'LinearAttention', 'Mlp', 'NormalCell', 'PositionEmbedding',
    'PyramidReduction', 'ReductionCell', 'RelativePositionBias', 'WindowAttention', 'drop_path_schedule',
    'merge_windows', 'pad_to_multiple', 'recompute', 'shift_mask', 'split_windows'
]
