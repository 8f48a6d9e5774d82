"""Adds the networks to mmpretrain's ``list_models``, ``get_model`` and ``ImageClassificationInferencer``.

Import this module, or list it in ``custom_imports`` of a config.
https://mmpretrain.readthedocs.io/en/latest/user_guides/inference.html
"""
from mmpretrain.apis.model import ModelHub
from modelindex.models.Model import Model

from ..utils.installation import config_folder
from ..zoo.published import RESULTS
from ..zoo.variants import VARIANTS

for name, variant in VARIANTS.items():
    has_weights = variant.has_weights(True)
    config_name = variant.config_name(variant.published_weights().tag if has_weights else str(variant.img_size))
    config = config_folder() / f'{config_name}.py'
    if config.is_file() and not ModelHub.has(name):
        weights = dict(weights=f'official://{name}') if has_weights else {}
        ModelHub._models_dict[name] = Model(name=name, config=str(config), **weights, results=[dict(
            Task='Image Classification', Dataset='ImageNet-1k',
            Metrics={'Top 1 Accuracy': RESULTS.get(config_name, {}).get('top1')})])
