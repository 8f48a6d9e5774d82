"""Data loading that OpenMMLab lacks; importing this package registers it in MMEngine's root registries."""
from .imagenet_variant import ImageNetVariant
from .repeated_augmentation import RepeatedAugmentationSampler
from .resize_by_orientation import ResizeByOrientation
from .token_labels import LoadTokenLabels, PoolTokenLabels, TransformWithTokenLabels

__all__ = ['ImageNetVariant', 'LoadTokenLabels', 'PoolTokenLabels', 'RepeatedAugmentationSampler',
           'ResizeByOrientation', 'TransformWithTokenLabels']
