"""What mmdet's scripts, loaders and samples do in their own way."""
import os.path as osp
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData

from mmvit_backbones.errors import UsageError

from ..utils.config_parts import find, metrics_of
from ..utils.distributed import warn
from .augmentation import check_pipeline, use_flips
from .other_scopes import draw_all, dump_predictions

TAKES_ANY_SIZE = True
MERGED = 100  # objects of an image in an augmented test
FLIPPED_BOXES = dict(type='PackDetInputs', meta_keys=(
    'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction'))
ARRAYS = dict(labels='labels', scores='scores', boxes='bboxes', masks='masks')  # in mmdet's samples
save_predictions = partial(dump_predictions, kind='mmdet.DumpDetResults')


def draw(cfg: Config, show: bool, show_dir: str | None, wait_time: float) -> None:
    hook = draw_all(cfg, show, wait_time)
    if show_dir:
        hook.test_out_dir = show_dir


def folder_of_drawings(cfg: Config, log_dir: str = '') -> str:
    drawings = find(cfg, 'default_hooks.visualization.test_out_dir')
    return osp.join(log_dir, drawings) if drawings else ''


def box_tta(objects: int) -> dict:
    """Returns mmdet's model of an augmented test of boxes, of which it merges so many per image."""
    return dict(type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=objects))


def augment(cfg: Config, options: Mapping[str, Any]) -> None:
    if 'tta_model' not in cfg:
        if any('segm' in metric.get('metric', ()) for metric in metrics_of(cfg, 'test')):
            raise UsageError(f'tta: mmdet merges only boxes, but {cfg.filename} tests masks; set tta_model')
        cfg.tta_model = ConfigDict(box_tta(MERGED))
    found = find(cfg, 'model.test_cfg.rcnn.max_per_img') or find(cfg, 'model.test_cfg.max_per_img') or 0
    if found > (kept := find(cfg, 'tta_model.tta_cfg.max_per_img') or found):
        warn(f'tta keeps {kept} objects per image, and the model finds up to {found}; set '
             'tta_model.tta_cfg.max_per_img')
    check_pipeline(cfg, options)
    use_flips(cfg, cfg.tta_model, FLIPPED_BOXES)


def arrays_of(sample: Any) -> dict[str, np.ndarray]:
    """Returns ``labels (N,)``, ``scores (N,)``, ``boxes (N, 4)`` and perhaps ``masks (N, height, width)``."""
    found = sample.pred_instances
    return {name: found[key].cpu().numpy() for name, key in ARRAYS.items() if key in found}


def add_prediction(sample: Any, outputs: Mapping[str, np.ndarray]) -> None:
    """Adds to a sample what :func:`arrays_of` returns."""
    values = {ARRAYS[name]: torch.from_numpy(value) for name, value in outputs.items()}
    sample.pred_instances = InstanceData(metainfo=None, **values)
