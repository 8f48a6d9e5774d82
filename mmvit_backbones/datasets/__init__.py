"""Data loading that OpenMMLab lacks; importing this package registers it in MMEngine's root registries."""
from .repeated_augmentation import RepeatedAugmentationSampler

__all__ = ['RepeatedAugmentationSampler']
