"""The networks in mmpretrain's ``ModelHub``: ``list_models``, ``get_model``, ``ImageClassificationInferencer``.

Importing mmvit_backbones suffices: what is here runs when mmpretrain's hub is imported, before or after.
https://mmpretrain.readthedocs.io/en/latest/user_guides/inference.html
"""
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from ..zoo.variants import VARIANTS, Variant

HUB = 'mmpretrain.apis.model'


def register_when_imported() -> None:
    """Adds the networks to the hub now if it has been imported, else as soon as it is."""
    if HUB in sys.modules:
        register(sys.modules[HUB])
    elif not any(isinstance(finder, HubFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, HubFinder())


class HubFinder(MetaPathFinder):
    """Finds the hub as Python does, and lets its loader add the networks."""

    def find_spec(self, fullname: str, path, target=None) -> ModuleSpec | None:
        if fullname != HUB or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_register(hub: ModuleType) -> None:
                load(hub)
                register(hub)

            spec.loader.exec_module = load_and_register
        return spec


def register(hub: ModuleType) -> None:
    """Adds all networks whose configs are in the installed package or in its checkout."""
    from modelindex.models.Model import Model
    for name, variant in VARIANTS.items():
        config = config_file(variant)
        if config is not None and not hub.ModelHub.has(name):
            weights = f'official://{name}' if variant.has_weights(True) else None
            hub.ModelHub._models_dict[name] = Model(name=name, config=str(config), weights=weights, results=[
                dict(Task='Image Classification', Dataset='ImageNet-1k', Metrics={'Top 1 Accuracy': variant.top1})])


def config_file(variant: Variant) -> Path | None:
    package = Path(__file__).resolve().parents[1]
    files = (root / 'configs' / f'imagenet_{variant.short_name}.py' for root in (package / '.mim', package.parent))
    return next((file for file in files if file.is_file()), None)
