"""Published variants and their weights: table of variants, downloads, conversion and safe loading."""
from .building import get_model
from .loading import convert_state_dict
from .variants import IMAGENET_MEAN, IMAGENET_STD, list_models

__all__ = ['IMAGENET_MEAN', 'IMAGENET_STD', 'convert_state_dict', 'get_model', 'list_models']
