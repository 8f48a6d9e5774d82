"""Data loading that OpenMMLab lacks; importing this package registers it in MMEngine's root registries."""
from .repeated_augmentation import RepeatedAugmentationSampler
from .resize_by_orientation import ResizeByOrientation

__all__ = ['RepeatedAugmentationSampler', 'ResizeByOrientation']
