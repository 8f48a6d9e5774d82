"""Checks the data of a config before training starts."""
import json
import math
import os
import os.path as osp
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from mmengine.config import Config

from ..errors import UsageError
from ..utils.config import SPLITS, datasets_of, metrics_of
from ..utils.images import check_image

KEYS = ('images', 'annotations', 'categories')  # of a COCO file
IGNORED = 255  # mmseg's label for what belongs to no class


def check_data(cfg: Config, splits: Sequence[str], content: bool = True) -> None:
    """Raises UsageError if the data of a split ('train', 'val', 'test') is missing or, with ``content``, invalid."""
    for split in splits:
        for dataset in datasets_of(cfg, split):
            if dataset.get('backend_args'):
                continue  # its files are on no disk
            if missing := next((path for path in _paths(dataset) if not _is_there(path)), None):
                raise UsageError(_message(cfg, dataset, missing))
            if content and (errors := list(annotation_errors(dataset))):
                raise UsageError(f'{errors[0]} ({len(errors)} kinds of mistakes; tools/data/check_data.py lists them)')
        for metric in metrics_of(cfg, split):
            for key in ('ann_file', 'label_file'):
                if metric.get(key) and not _is_there(metric[key]):
                    raise UsageError(f'{split}_evaluator.{key} {osp.abspath(metric[key])} does not exist')


def _paths(dataset: dict) -> list[str]:
    """Returns the files and folders (with a trailing slash) of a data set, annotations first."""
    prefix = dataset.get('data_prefix') or dataset.get('split') or ''
    folders = prefix.values() if isinstance(prefix, dict) else [prefix]
    names = [dataset['ann_file']] if dataset.get('ann_file') else []
    names += [osp.join(folder, '') for folder in folders]
    return [osp.join(dataset.get('data_root') or '', name) for name in names]


def annotation_errors(dataset: dict) -> Iterator[str]:
    """Yields the errors in the annotations of a data set config, in the first process only."""
    is_coco = dataset['type'].startswith('Coco') and str(dataset.get('ann_file')).endswith('.json')
    if is_coco and os.environ.get('RANK', '0') == '0':
        file, *folders = map(osp.expanduser, _paths(dataset))
        yield from coco_errors(file, folders[0])


def sample_error(sample: tuple[dict, int]) -> str:
    """Returns the error in the files of a sample (data set entry, number of classes), or ''."""
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
    """Reads an image like the frameworks, but refuses truncated files, which they fill with gray."""
    import mmcv
    check_image(path)
    image = mmcv.imread(path, **how)
    if image is None:
        raise UsageError(f'image {path} cannot be read by OpenCV, which the frameworks use')
    return image


def check_mask(path: str | Path, mask: np.ndarray, last: float) -> None:
    """Raises UsageError if a mask has several channels, or labels above the last class."""
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
    siblings = [leaf for split in SPLITS for leaf in datasets_of(cfg, split) if (leaf.get('data_root') or '.') == root]
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


# ---- COCO


def read_coco(file: str) -> dict:
    """Returns the content of a COCO file; raises UsageError for other formats."""
    try:
        with open(file, encoding='utf-8') as stream:
            content = json.load(stream)
        for key in KEYS:
            [entry['id'] for entry in content[key]]
        [image['file_name'] for image in content['images']]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f'has no {error}' if isinstance(error, KeyError) else f'{type(error).__name__}: {error}'
        raise UsageError(f'{file} is not in COCO format: {reason}') from error
    return content


def coco_errors(file: str, folder: str) -> Iterator[str]:
    """Yields one line per kind of error in a COCO file, with images in ``folder``, that would stop training."""
    try:
        content = read_coco(file)
    except UsageError as error:
        yield str(error)
        return
    for key in KEYS:
        if not content[key]:
            yield f'{file}: {key} is empty'
        ids = Counter(entry['id'] for entry in content[key])
        if repeated := [number for number, count in ids.items() if count > 1]:
            yield f'{file}: {_some(repeated)} of {key} are given to several'
    if missing := _missing(folder, [image['file_name'] for image in content['images']]):
        yield f'{file}: images {_some(missing)} are not in {folder}'
    sizes = {image['id']: [image.get('height'), image.get('width')] for image in content['images']}
    allowed = {
        'image_id': (lambda a: a.get('image_id') in sizes, 'the id of a listed image'),
        'category_id': (lambda a: 'category_id' in a, 'given'),
        'bbox': (lambda a: _are_finite(a.get('bbox')) and len(a['bbox']) == 4, 'four finite numbers'),
        'segmentation': (lambda a: _is_segmentation(a.get('segmentation'), sizes.get(a.get('image_id'))),
                         'polygons of finite numbers, or a run-length encoding with counts and the size of the image'),
    }
    for key, (is_right, rule) in allowed.items():
        if wrong := [annotation['id'] for annotation in content['annotations'] if not is_right(annotation)]:
            yield f'{file}: {key} of annotations {_some(wrong)} must be {rule}'


def coco_left_out(file: str) -> Counter:
    """Counts the annotations of a valid COCO file that mmdet leaves out, by reason."""
    content = read_coco(file)
    sizes = {image['id']: (image.get('width', math.inf), image.get('height', math.inf)) for image in content['images']}
    categories = {category['id'] for category in content['categories']}
    left_out = Counter()
    for annotation in content['annotations']:
        x, y, width, height = annotation['bbox']
        image_width, image_height = sizes[annotation['image_id']]
        polygons = annotation.get('segmentation')
        if annotation['category_id'] not in categories:
            left_out['unknown category'] += 1
        elif annotation.get('area', 1) <= 0 or width < 1 or height < 1:
            left_out['no area, or a side below one pixel'] += 1
        elif min(x + width, image_width) <= max(x, 0) or min(y + height, image_height) <= max(y, 0):
            left_out['box outside of its image'] += 1
        elif isinstance(polygons, list) and polygons and not any(len(p) >= 6 and len(p) % 2 == 0 for p in polygons):
            left_out['no polygon of three points'] += 1
    return left_out


def _missing(folder: str, names: list[str]) -> list[str]:
    """Returns the files that are not in a folder, listing each subfolder once."""
    there = dict.fromkeys((osp.dirname(name) for name in names), ())
    for part in there:
        with suppress(OSError), os.scandir(osp.join(folder, part)) as entries:
            there[part] = {entry.name for entry in entries if entry.is_file()}
    return [name for name in names if osp.basename(name) not in there[osp.dirname(name)]]


def _some(values: list) -> str:
    more = f' and {len(values) - 3} more' if len(values) > 3 else ''
    return ', '.join(map(str, values[:3])) + more


def _are_finite(values) -> bool:
    return isinstance(values, list) and all(isinstance(x, (int, float)) and math.isfinite(x) for x in values)


def _is_segmentation(segmentation, size: list[int] | None) -> bool:
    """Returns whether this is polygons, a run-length encoding of the image's size, or None."""
    if isinstance(segmentation, dict):
        return 'counts' in segmentation and (size is None or segmentation.get('size') == size)
    return segmentation is None or isinstance(segmentation, list) and all(map(_are_finite, segmentation))
