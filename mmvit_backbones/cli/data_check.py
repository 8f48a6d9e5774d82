"""See that the data of a config is there, before anything starts."""
import os
import os.path as osp
from collections.abc import Sequence

from mmengine.config import Config

from .config import UsageError, leaf_datasets


def check_data(cfg: Config, splits: Sequence[str]) -> None:
    """Raise a UsageError if a file or folder of the splits ('train', 'val', 'test') is missing."""
    for split in splits:
        for dataset in _datasets(cfg, split):
            missing = next((path for path in _paths(dataset) if not _is_there(path)), None)
            if missing:
                raise UsageError(_message(cfg, dataset, missing))
        for key, path in _files_of_metrics(cfg, split):
            if not _is_there(path):
                raise UsageError(f'{split}_evaluator.{key} {osp.abspath(path)} does not exist')


def _datasets(cfg: Config, split: str) -> list[dict]:
    loader = cfg.get(f'{split}_dataloader')
    # Files that are not on a disk are not looked for.
    return [leaf for leaf in leaf_datasets(loader['dataset']) if not leaf.get('backend_args')] if loader else []


def _paths(dataset: dict) -> list[str]:
    """List the files and folders (these end with a slash) that a dataset reads, annotations first."""
    prefix = dataset.get('data_prefix') or dataset.get('split') or ''
    folders = prefix.values() if isinstance(prefix, dict) else [prefix]
    names = [dataset['ann_file']] if dataset.get('ann_file') else []
    names += [osp.join(folder, '') for folder in folders]
    return [osp.join(dataset.get('data_root') or '', name) for name in names]


def _is_there(path: str) -> bool:
    path = osp.expanduser(path)
    if not path.endswith(os.sep):
        return osp.isfile(path)
    return osp.isdir(path) and bool(os.listdir(path))


def _files_of_metrics(cfg: Config, split: str) -> list[tuple[str, str]]:
    metrics = cfg.get(f'{split}_evaluator') or []
    metrics = metrics if isinstance(metrics, list) else [metrics]
    return [(key, metric[key]) for metric in metrics for key in ('ann_file', 'label_file') if metric.get(key)]


def _message(cfg: Config, dataset: dict, missing: str) -> str:
    root = dataset.get('data_root') or '.'
    siblings = [leaf for split in ('train', 'val', 'test') for leaf in _datasets(cfg, split)
                if (leaf.get('data_root') or '.') == root]
    layout = dict.fromkeys(_layout(path, leaf, root) for leaf in siblings for path in _paths(leaf))
    message = (f'data set not found: {osp.abspath(missing)} is missing or empty; '
               f'expected in {osp.abspath(root)}: {", ".join(layout)}')
    folder, name = osp.split(cfg.filename or '')
    demo = osp.join(folder, 'demo', name)
    return f'{message} ({demo} needs no download)' if osp.isfile(demo) else message


def _layout(path: str, dataset: dict, root: str) -> str:
    path = osp.relpath(path, root) + (os.sep if path.endswith(os.sep) else '')
    # Without an annotation file, the folders of the images are the classes (mmpretrain).
    is_class_tree = path.endswith(os.sep) and not dataset.get('ann_file') and \
        not isinstance(dataset.get('data_prefix'), dict)
    if not is_class_tree:
        return path
    return f'{path}<wnid>/*.JPEG' if dataset['type'] == 'ImageNet' else f'{path}<class>/<image>'
