"""The parts of a config: its settings, loaders, data sets and metrics."""
import os.path as osp
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from mmvit_backbones.utils.openmmlab_models import type_name

SPLITS = ('train', 'val', 'test')
LOADERS = tuple(f'{split}_dataloader' for split in SPLITS)
FOLDER_PER_CLASS = 'CustomDataset', 'ImageNet', 'ImageNet21k'  # if they have no annotation file


def find(cfg: Config, key: str) -> Any:
    """Returns a setting such as ``train_cfg.max_epochs``, or None."""
    node: Any = cfg
    for part in key.split('.'):
        node = node.get(part) if isinstance(node, (Config, Mapping)) else None
    return node


def leaf_datasets(dataset: dict) -> list[dict]:
    """Returns the dataset configs inside any wrappers, which all have the arguments of MMEngine's.

    For what must be known before a data set can be built: whether its files exist, and, for prediction without data,
    its test pipeline and its classes.
    """
    if 'datasets' in dataset:
        return [leaf for part in dataset['datasets'] for leaf in leaf_datasets(part)]
    if 'dataset' in dataset:
        return leaf_datasets(dataset['dataset'])
    return [dataset]


def datasets_of(cfg: Config, split: str) -> list[dict]:
    """Returns the unwrapped dataset configs of 'train', 'val' or 'test'; empty if the config lacks the split."""
    loader = cfg.get(f'{split}_dataloader')
    return leaf_datasets(loader['dataset']) if loader else []


def paths_of(dataset: dict) -> list[str]:
    """Returns the paths of the annotation file, if any, and of the image and mask folders; folders end with a slash."""
    split = dataset.get('split') if type_name(dataset) in FOLDER_PER_CLASS else ''  # elsewhere, a split is not a folder
    prefix = dataset.get('data_prefix') or split or ''
    folders = prefix.values() if isinstance(prefix, dict) else [prefix]
    names = [dataset['ann_file']] if dataset.get('ann_file') else []
    names += [osp.join(folder, '') for folder in folders]
    return [osp.join(dataset.get('data_root') or '', name) for name in names]


def metrics_of(cfg: Config, split: str) -> list[dict]:
    """Returns the evaluator configs of 'train', 'val' or 'test' as a list."""
    metrics = cfg.get(f'{split}_evaluator') or []
    return metrics if isinstance(metrics, list) else [metrics]
