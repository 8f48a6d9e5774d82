"""Layers that several networks share, one idea per file."""
from .attention import GlobalAttention, LinearAttention, WindowAttention
from .attention_residual import Gate, add_product, attend
from .decomposed_position import DecomposedPosition
from .drop_path import DropPath, drop_path_schedule
from .init import trunc_normal_
from .linear import Linear, linear
from .mlp import Mlp
from .patch_embed import PatchEmbed
from .position_bias import RelativePositionBias
from .position_embedding import PositionEmbedding
from .precision import at_least_float32, without_autocast
from .recompute import recompute
from .relu6 import relu6_
from .tracing import is_needed, is_recorded
from .varied_size_attention import VariedSizeWindowAttention
from .vitae_cell import ContextPosition, ConvBranch, NormalCell, PyramidReduction, ReductionCell
from .window import merge_windows, pad_to_multiple, project_padded, roll_map, shift_mask, split_windows

__all__ = [
    'ContextPosition', 'ConvBranch', 'DecomposedPosition', 'DropPath', 'Gate', 'GlobalAttention', 'Linear',
    'LinearAttention', 'Mlp', 'NormalCell', 'PatchEmbed', 'PositionEmbedding', 'PyramidReduction', 'ReductionCell',
    'RelativePositionBias', 'VariedSizeWindowAttention', 'WindowAttention', 'add_product', 'at_least_float32',
    'attend', 'drop_path_schedule', 'is_needed', 'is_recorded', 'linear', 'merge_windows', 'pad_to_multiple',
    'project_padded', 'recompute', 'relu6_', 'roll_map', 'shift_mask', 'split_windows', 'trunc_normal_',
    'without_autocast'
]
