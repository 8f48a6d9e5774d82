"""What mmseg's scripts, loaders and samples do in their own way."""
import os.path as osp
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.structures import PixelData

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.openmmlab_models import type_name

from ..utils.config_parts import find, metrics_of
from .augmentation import check_pipeline, use_flips
from .other_scopes import draw_all

TAKES_ANY_SIZE = True


def draw(cfg: Config, show: bool, show_dir: str | None, wait_time: float) -> None:
    draw_all(cfg, show, wait_time)
    if show_dir:
        cfg.visualizer.save_dir = show_dir


def folder_of_drawings(cfg: Config, log_dir: str = '') -> str:
    save_dir = find(cfg, 'visualizer.save_dir')
    is_drawn = find(cfg, 'default_hooks.visualization.draw') and save_dir
    return osp.join(save_dir, 'vis_data', 'vis_image') if is_drawn else ''


def augment(cfg: Config, options: Mapping[str, Any]) -> None:
    if not (cfg.get('tta_model') and cfg.get('tta_pipeline')):
        raise UsageError(f'tta needs tta_model and tta_pipeline, which {cfg.filename} does not set')
    check_pipeline(cfg, options)
    use_flips(cfg, cfg.tta_model)


def save_predictions(cfg: Config, out: str) -> None:
    metrics = metrics_of(cfg, 'test')
    if len(metrics) != 1:
        raise UsageError(f'out needs a single test_evaluator, got {len(metrics)}')
    metrics[0].update(output_dir=out, keep_results=True)


def padded_to(preprocessor: Mapping[str, Any]) -> int:
    return (preprocessor.get('test_cfg') or {}).get('size_divisor') or 1


def has_label_maps(dataset: dict) -> bool:
    steps = {type_name(step) for step in dataset.get('pipeline') or ()}
    return {'LoadImageFromFile', 'LoadAnnotations'} <= steps


def arrays_of(sample: Any) -> dict[str, np.ndarray]:
    """Returns ``segmentation (height, width)``."""
    return dict(segmentation=sample.pred_sem_seg.data[0].cpu().numpy())


def add_prediction(sample: Any, outputs: Mapping[str, np.ndarray]) -> None:
    """Adds to a sample what :func:`arrays_of` returns."""
    sample.pred_sem_seg = PixelData(data=torch.from_numpy(outputs['segmentation'])[None])
