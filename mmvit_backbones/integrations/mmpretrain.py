"""The networks in mmpretrain's ``ModelHub``: ``list_models``, ``get_model``, ``ImageClassificationInferencer``.

Importing this module adds them; in a config, ``custom_imports`` can name it.
https://mmpretrain.readthedocs.io/en/latest/user_guides/inference.html
"""
from pathlib import Path

from mmpretrain.apis.model import ModelHub
from modelindex.models.Model import Model

from ..zoo.variants import VARIANTS, Variant


def find_config(variant: Variant) -> Path | None:
    """Returns the config of a variant, from the installed package or from its checkout."""
    package = Path(__file__).resolve().parents[1]
    files = (root / 'configs' / f'imagenet_{variant.short_name}.py' for root in (package / '.mim', package.parent))
    return next((file for file in files if file.is_file()), None)


for name, variant in VARIANTS.items():
    config = find_config(variant)
    if config is not None and not ModelHub.has(name):
        weights = f'official://{name}' if variant.has_weights(True) else None
        ModelHub._models_dict[name] = Model(name=name, config=str(config), weights=weights, results=[
            dict(Task='Image Classification', Dataset='ImageNet-1k', Metrics={'Top 1 Accuracy': variant.top1})])
