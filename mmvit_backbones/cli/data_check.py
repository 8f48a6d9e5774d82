"""See that the data of a config is there, before anything starts."""
import os
import os.path as osp
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config

from .annotations import coco_errors
from .config import SPLITS, UsageError, datasets_of, metrics_of
from .images import check_image

IGNORED = 255  # mmseg's label for what belongs to no class


def check_data(cfg: Config, splits: Sequence[str], content: bool = True) -> None:
    """Refuse a config whose data, of some of 'train', 'val' and 'test', is missing or, with ``content``, wrong."""
    for split in splits:
        for dataset in _datasets(cfg, split):
            if missing := next((path for path in _paths(dataset) if not _is_there(path)), None):
                raise UsageError(_message(cfg, dataset, missing))
            errors = list(annotation_errors(dataset)) if content else []
            if errors:
                raise UsageError(f'{errors[0]} ({len(errors)} kinds of mistakes; tools/check_data.py lists them)')
        for metric in metrics_of(cfg, split):
            for key in ('ann_file', 'label_file'):
                if metric.get(key) and not _is_there(metric[key]):
                    raise UsageError(f'{split}_evaluator.{key} {osp.abspath(metric[key])} does not exist')


def _datasets(cfg: Config, split: str) -> list[dict]:
    """Those whose files are on a disk: others are not looked for."""
    return [dataset for dataset in datasets_of(cfg, split) if not dataset.get('backend_args')]


def _paths(dataset: dict) -> list[str]:
    """List the files and folders (these end with a slash) that a dataset reads, annotations first."""
    prefix = dataset.get('data_prefix') or dataset.get('split') or ''
    folders = prefix.values() if isinstance(prefix, dict) else [prefix]
    names = [dataset['ann_file']] if dataset.get('ann_file') else []
    names += [osp.join(folder, '') for folder in folders]
    return [osp.join(dataset.get('data_root') or '', name) for name in names]


def annotation_errors(dataset: dict) -> Iterator[str]:
    """Go through the mistakes in the annotations of a dataset config; one process looks for them."""
    is_coco = dataset['type'].startswith('Coco') and str(dataset.get('ann_file')).endswith('.json')
    if is_coco and os.environ.get('RANK', '0') == '0':
        file, *folders = map(osp.expanduser, _paths(dataset))
        yield from coco_errors(file, folders[0])


def sample_error(sample: tuple[dict, int]) -> str:
    """What is wrong with the files of a sample, of which the data set's entry and number of classes come, or ''."""
    info, num_classes = sample
    try:
        image = _read(info['img_path'], flag='color')
        size, stated = image.shape[:2], (info.get('height'), info.get('width'))
        if None not in stated and size != stated:
            raise UsageError(f'image {info["img_path"]} is of {size[0]} x {size[1]} pixels, the annotations say '
                             f'{stated[0]} x {stated[1]}')
        if mask := info.get('seg_map_path'):
            labels = _read(mask, flag='unchanged', backend='pillow')
            if labels.shape[:2] != size:
                raise UsageError(f'mask {mask} is of {labels.shape[:2]} pixels, its image of {size}')
            last = np.inf if info.get('label_map') else num_classes - 1 + bool(info.get('reduce_zero_label'))
            check_mask(mask, labels, last)
    except UsageError as error:
        return str(error).split('\n')[0]
    return ''


def _read(path: str, **how: str) -> np.ndarray:
    """Read an image as the frameworks do, and refuse what they complete with gray."""
    import mmcv
    check_image(path)
    image = mmcv.imread(path, **how)
    if image is None:
        raise UsageError(f'image {path} cannot be read by OpenCV, which the frameworks use')
    return image


def check_mask(path: str | Path, mask: np.ndarray, last: float) -> None:
    """Refuse a mask of several channels, or with labels above the last class."""
    if mask.ndim > 2:
        raise UsageError(f'mask {path} has {mask.shape[2]} channels; allowed is one, with the class of each pixel')
    if wrong := [int(label) for label in np.unique(mask) if label > last and label != IGNORED]:
        raise UsageError(f'mask {path} has labels {wrong[:5]}; allowed are 0 to {last} and {IGNORED}')


def _is_there(path: str) -> bool:
    path = osp.expanduser(path)
    if not path.endswith(os.sep):
        return osp.isfile(path)
    try:
        return osp.isdir(path) and bool(os.listdir(path))
    except OSError as error:
        raise UsageError(f'folder {path} cannot be read: {error.strerror}') from error


def _message(cfg: Config, dataset: dict, missing: str) -> str:
    root = dataset.get('data_root') or '.'
    siblings = [leaf for split in SPLITS for leaf in _datasets(cfg, split) if (leaf.get('data_root') or '.') == root]
    layout = dict.fromkeys(_layout(path, leaf, root) for leaf in siblings for path in _paths(leaf))
    message = (f'data set not found: {osp.abspath(missing)} is missing or empty; '
               f'expected in {osp.abspath(root)}: {", ".join(layout)}')
    folder, name = osp.split(cfg.filename or '')
    demo = osp.join(folder, 'demo', name)
    return f'{message} ({demo} needs no download)' if osp.isfile(demo) else message


def _layout(path: str, dataset: dict, root: str) -> str:
    name = osp.relpath(path, root)
    if not path.endswith(os.sep):
        return name
    # Without an annotation file, the folders of the images are the classes (mmpretrain).
    if dataset.get('ann_file') or isinstance(dataset.get('data_prefix'), dict):
        return f'{name}/'
    return f'{name}/<wnid>/*.JPEG' if dataset['type'] == 'ImageNet' else f'{name}/<class>/<image>'
