"""What a config may leave to the machine on which it runs: the precision, and the processes that read data."""
import re
from typing import Any

import torch
from mmengine.config import Config

from ..utils.config_parts import LOADERS
from ..utils.devices import has_mixed_precision
from .precisions import PRECISIONS

OF_MACHINE = 'of_machine'  # setting of a config: which of these settings another machine makes anew
KEYS = dict(precision=re.compile(r'optim_wrapper\.(type|dtype|loss_scale)$'),
            workers=re.compile(r'\w+_dataloader\.(num_workers|persistent_workers|pin_memory)$'))


def find_settings_here() -> dict[str, Any]:
    """Returns the precision, and the number of processes that read data for each process of a training."""
    return dict(precision='float16' if has_mixed_precision() else 'float32',
                workers=4 if torch.cuda.is_available() else 0)


def make_loading(workers: int) -> dict[str, Any]:
    """Returns what loaders have for a number of processes that read data."""
    return dict(num_workers=workers, persistent_workers=False, pin_memory=torch.cuda.is_available())


def settle_here(cfg: Config, precision: str | None = None) -> None:
    """Gives a config those settings of this machine that its list ``of_machine`` names, and another ``precision``."""
    here, settled = find_settings_here(), cfg.get(OF_MACHINE) or ()
    if precision or 'precision' in settled:
        others = {name: value for name, value in cfg.optim_wrapper.items() if name not in PRECISIONS['float16']}
        cfg.optim_wrapper = {**PRECISIONS[precision or here['precision']], **others}
    if 'workers' in settled:
        for loader in [cfg[key] for key in LOADERS if cfg.get(key)]:
            loader.update(make_loading(here['workers']))
