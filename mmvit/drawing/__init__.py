"""Drawings of attention and windows; the only room that draws with Matplotlib."""
from .attention import draw_attention

__all__ = ['draw_attention']
