"""Heads that OpenMMLab lacks, and heads that start equal; importing this package registers them."""
from .equal_heads import EqualHeadsHook, NoBackbone
from .token_label_head import TokenLabelHead

__all__ = ['EqualHeadsHook', 'NoBackbone', 'TokenLabelHead']
