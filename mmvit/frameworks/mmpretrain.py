"""What mmpretrain's scripts, loaders and samples do in their own way."""
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import default_collate

from mmvit_backbones.errors import UsageError

from ..utils.config_parts import LOADERS, find
from .augmentation import use_flips
from .other_scopes import drawing_hook, dump_predictions

APPLIES_OPTIONS_LAST = True
collate = default_collate
save_predictions = dump_predictions


def complete(cfg: Config) -> None:
    for loader in [cfg[key] for key in LOADERS if cfg.get(key)]:
        loader.setdefault('collate_fn', dict(type='default_collate'))


def set_loaders(cfg: Config, loaders: tuple[str, ...], **defaults: Any) -> None:
    """Sets what loaders do not set; without workers, none can persist."""
    for key in loaders:
        if cfg.get(key) is not None:
            fitting = {name: value for name, value in defaults.items() if cfg[key].get('num_workers')}
            cfg[key] = ConfigDict({'pin_memory': True, **fitting, **cfg[key]})


def use_float16(optim_wrapper: ConfigDict) -> None:
    optim_wrapper.type = 'AmpOptimWrapper'
    optim_wrapper.setdefault('loss_scale', 'dynamic')


def draw(cfg: Config, show: bool, show_dir: str | None, wait_time: float) -> None:
    drawing_hook(cfg).update(enable=True, show=show, wait_time=wait_time, out_dir=show_dir, interval=1)


def folder_of_drawings(cfg: Config, log_dir: str = '') -> str:
    hook = find(cfg, 'default_hooks.visualization') or {}
    return hook.get('enable') and hook.get('out_dir') or ''


def augment(cfg: Config, options: Mapping[str, Any]) -> None:
    if find(cfg, 'default_hooks.visualization.enable'):
        raise UsageError('tta cannot be combined with show (--show) and show_dir (--show-dir): mmpretrain draws no '
                         'augmented images')
    use_flips(cfg, cfg.get('tta_model') or dict(type='mmpretrain.AverageClsScoreTTA'))


def arrays_of(sample: Any) -> dict[str, np.ndarray]:
    """Returns ``scores (classes,)``."""
    return dict(scores=sample.pred_score.cpu().numpy())


def add_prediction(sample: Any, outputs: Mapping[str, np.ndarray]) -> None:
    """Adds to a sample what :func:`arrays_of` returns."""
    scores = torch.from_numpy(outputs['scores'])
    sample.set_pred_score(scores).set_pred_label(scores.argmax())
