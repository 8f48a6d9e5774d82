"""Heads that are missing in OpenMMLab; importing this package registers them in MMEngine's root ``MODELS``."""
from .token_label_head import TokenLabelHead

__all__ = ['TokenLabelHead']
