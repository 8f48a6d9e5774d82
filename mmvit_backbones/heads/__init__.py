"""Heads that OpenMMLab lacks; importing this package registers them."""
from .token_label_head import TokenLabelHead

__all__ = ['TokenLabelHead']
