"""Drawings of attention and windows; the only room that draws with Matplotlib."""
from .attention import draw_attention
from .windows import draw_windows

__all__ = ['draw_attention', 'draw_windows']
