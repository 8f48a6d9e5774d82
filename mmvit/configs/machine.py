"""What a recipe leaves to the machine on which it runs: the precision, and the processes that read data."""
from typing import Any

import torch
from mmengine.config import Config

from ..utils.devices import has_mixed_precision
from .files import LOADERS
from .precisions import PRECISIONS


def find_settings_here() -> dict[str, Any]:
    """Returns the precision, and the number of processes that read data for each process of a training."""
    return dict(precision='float16' if has_mixed_precision() else 'float32',
                workers=4 if torch.cuda.is_available() else 0)


def make_loading(workers: int) -> dict[str, Any]:
    """Returns what loaders have for a number of processes that read data."""
    return dict(num_workers=workers, persistent_workers=False, pin_memory=torch.cuda.is_available())


def fit_recipe(cfg: Config, precision: str | None = None) -> None:
    """Gives a recipe the precision and the workers of this machine in place of those of the one that prepared it.

    What was given when the recipe was made, or edited since, stays; ``precision`` replaces it.
    """
    before, here = cfg.recipe.get('here') or {}, find_settings_here()
    others = {name: value for name, value in cfg.optim_wrapper.items() if name not in PRECISIONS['float16']}
    if precision or cfg.optim_wrapper == {**others, **PRECISIONS.get(before.get('precision', ''), {})}:
        cfg.optim_wrapper = {**PRECISIONS[precision or here['precision']], **others}
    for loader in [cfg[key] for key in LOADERS if cfg.get(key)]:
        if loader.get('num_workers') == before.get('workers'):
            loader.update(make_loading(here['workers']))
