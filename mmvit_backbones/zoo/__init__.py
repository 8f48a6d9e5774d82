"""Published variants and their weights: table of variants, downloads, conversion and safe loading."""
from .building import get_model
from .loading import convert_state_dict
from .reading import load_checkpoint_file
from .variants import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    VARIANTS,
    Family,
    Variant,
    find_variant,
    list_models,
    parse_config_name,
)

__all__ = ['IMAGENET_MEAN', 'IMAGENET_STD', 'VARIANTS', 'Family', 'Variant', 'convert_state_dict', 'find_variant',
           'get_model', 'list_models', 'load_checkpoint_file', 'parse_config_name']
