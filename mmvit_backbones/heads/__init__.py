"""Heads that OpenMMLab lacks; importing this package registers them in MMEngine's root ``MODELS``."""
from .token_label_head import TokenLabelHead

__all__ = ['TokenLabelHead']
