"""Drawings of attention, windows and training runs; the only room that draws with Matplotlib."""
from .attention import draw_attention
from .run import draw_runs
from .windows import draw_windows

__all__ = ['draw_attention', 'draw_runs', 'draw_windows']
