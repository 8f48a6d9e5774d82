"""Layers that several networks share, one idea per file."""
from .attention import GlobalAttention, LinearAttention, WindowAttention
from .drop_path import DropPath, drop_path_schedule
from .mlp import Mlp
from .position_bias import RelativePositionBias
from .position_embedding import PositionEmbedding
from .precision import at_least_float32, without_autocast
from .recompute import recompute
from .relu6 import relu6_
from .varied_size_attention import VariedSizeWindowAttention
from .vitae_cell import ContextPosition, ConvBranch, NormalCell, PyramidReduction, ReductionCell
from .window import merge_windows, pad_to_multiple, project_padded, shift_mask, split_windows

__all__ = [
    'ContextPosition', 'ConvBranch', 'DropPath', 'GlobalAttention', 'LinearAttention', 'Mlp', 'NormalCell',
    'PositionEmbedding', 'PyramidReduction', 'ReductionCell', 'RelativePositionBias', 'VariedSizeWindowAttention',
    'WindowAttention', 'at_least_float32', 'drop_path_schedule', 'merge_windows', 'pad_to_multiple',
    'project_padded', 'recompute', 'relu6_', 'shift_mask', 'split_windows', 'without_autocast'
]
