"""Layers that several networks share, one idea per file."""
from .drop_path import DropPath, drop_path_schedule
from .mlp import Mlp
from .position_bias import RelativePositionBias
from .window import merge_windows, pad_to_multiple, shift_mask, split_windows

__all__ = [
    'DropPath', 'Mlp', 'RelativePositionBias', 'drop_path_schedule', 'merge_windows', 'pad_to_multiple',
    'shift_mask', 'split_windows'
]
