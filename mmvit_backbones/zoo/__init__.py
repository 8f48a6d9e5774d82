"""Published variants and their weights: table of variants, downloads, conversion and safe loading."""
from .building import get_model
from .checkpoints import read_checkpoint
from .loading import convert_state_dict
from .variants import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    VARIANTS,
    Family,
    Variant,
    find_variant,
    list_models,
)

__all__ = [
    'IMAGENET_MEAN',
    'IMAGENET_STD',
    'VARIANTS',
    'Family',
    'Variant',
    'convert_state_dict',
    'find_variant',
    'get_model',
    'list_models',
    'read_checkpoint',
]
