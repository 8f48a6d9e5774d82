"""Optimizer settings per layer: rates that decay with depth, and weights without weight decay."""
from .layer_decay import LayerDecayConstructor
from .weight_decay import weight_decay_cfg

__all__ = ['LayerDecayConstructor', 'weight_decay_cfg']
