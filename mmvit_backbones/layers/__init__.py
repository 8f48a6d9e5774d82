"""Layers that several networks share, one idea per file."""
from .drop_path import DropPath, drop_path_schedule
from .mlp import Mlp
from .position_bias import RelativePositionBias
from .varied_size_attention import VariedSizeWindowAttention
from .window import merge_windows, pad_to_multiple, shift_mask, split_windows

__all__ = [
    'DropPath', 'Mlp', 'RelativePositionBias', 'VariedSizeWindowAttention', 'drop_path_schedule', 'merge_windows',
    'pad_to_multiple', 'shift_mask', 'split_windows'
]
