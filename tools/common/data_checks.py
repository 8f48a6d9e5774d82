"""Checks the data of a config before training starts."""
import math
import os
import os.path as osp
import sys
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from operator import itemgetter

import numpy as np
from mmengine.config import Config
from mmengine.fileio import load

from mmvit_backbones.errors import UsageError, first_line
from mmvit_backbones.utils.config import SPLITS, datasets_of, metrics_of
from mmvit_backbones.utils.images import check_image, image_size

FIELDS = dict(images=('id', 'file_name'), annotations=('id', ), categories=('id', 'name'))  # that COCO files must have
IMAGES_TO_CHECK = 100  # before a training; more would take long
UNKNOWN = 'category_id of no listed category'
IGNORED = 255  # mmseg's label for what belongs to no class


def check_data(cfg: Config, splits: Sequence[str], content: bool = True) -> None:
    """Raises UsageError if the data of a split ('train', 'val', 'test') is missing or, with ``content``, invalid.

    Mistakes that harm only a little are printed as warnings.
    """
    for split in splits:
        for dataset in datasets_of(cfg, split):
            if dataset.get('backend_args'):
                continue  # its files are on no disk
            if missing := next((path for path in _paths(dataset) if not _is_there(path)), None):
                raise UsageError(_message(cfg, dataset, missing))
            if content:
                errors, warnings = find_mistakes(dataset, IMAGES_TO_CHECK)
                if errors:
                    raise UsageError(f'{errors[0]} ({len(errors)} kinds of mistakes; tools/data/check_data.py lists '
                                     'them)')
                for warning in warnings:
                    warn(warning)
        for metric in metrics_of(cfg, split):
            for key in ('ann_file', 'label_file'):
                if metric.get(key) and not _is_there(metric[key]):
                    raise UsageError(f'{split}_evaluator.{key} {osp.abspath(metric[key])} does not exist')


def warn(message: str) -> None:
    """Prints a warning, in the first process only."""
    if os.environ.get('RANK', '0') == '0':
        print(f'warning: {message}', file=sys.stderr)


def check_share(wrong: list[str], total: int, rule: str) -> None:
    """Raises UsageError if half of what was checked or more is wrong; prints a warning if less is."""
    if not wrong:
        return
    message = f'{wrong[0]}; so are {len(wrong)} of {total} that were checked: {rule}'
    if 2 * len(wrong) >= total:
        raise UsageError(message)
    warn(message)


def find_mistakes(dataset: dict, num_images: int = 0) -> tuple[list[str], list[str]]:
    """Returns the errors and the warnings on the annotations of a data set config, in the first process only.

    The sizes of ``num_images`` images are compared with the annotations.
    """
    is_coco = dataset['type'].startswith('Coco') and str(dataset.get('ann_file')).endswith('.json')
    if not is_coco or os.environ.get('RANK', '0') != '0':
        return [], []
    file, folder, *_ = map(osp.expanduser, _paths(dataset))
    try:
        content = read_coco(file)
        classes = (dataset.get('metainfo') or {}).get('classes')
        if errors := list(coco_errors(file, content, folder, classes)):
            return errors, []
        warnings = coco_warnings(file, content)
        images = content['images'][::-(-len(content['images']) // num_images)] if num_images else []
        check_share(_wrong_sizes(folder, images), len(images), f'correct width and height in {file}, and the boxes if '
                    'they are for other sizes')
    except UsageError as error:
        return [str(error)], []
    return [], warnings


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


def check_mask(path: str, mask: np.ndarray, last: float) -> None:
    """Raises UsageError if a mask has several channels, or labels above the last class."""
    if mask.ndim > 2:
        raise UsageError(f'mask {path} has {mask.shape[2]} channels; allowed is one, with the class of each pixel')
    if wrong := [int(label) for label in np.unique(mask) if label > last and label != IGNORED]:
        raise UsageError(f'mask {path} has labels {wrong[:5]}; allowed are 0 to {last} and {IGNORED}')


def _paths(dataset: dict) -> list[str]:
    """Returns the files and folders (with a trailing slash) of a data set, annotations first."""
    prefix = dataset.get('data_prefix') or dataset.get('split') or ''
    folders = prefix.values() if isinstance(prefix, dict) else [prefix]
    names = [dataset['ann_file']] if dataset.get('ann_file') else []
    names += [osp.join(folder, '') for folder in folders]
    return [osp.join(dataset.get('data_root') or '', name) for name in names]


def _is_there(path: str) -> bool:
    path = osp.expanduser(path)
    if not path.endswith(os.sep):
        return osp.isfile(path)
    return osp.isdir(path) and os.access(path, os.R_OK) and bool(os.listdir(path))


def _message(cfg: Config, dataset: dict, missing: str) -> str:
    root = dataset.get('data_root') or '.'
    siblings = [leaf for split in SPLITS for leaf in datasets_of(cfg, split) if (leaf.get('data_root') or '.') == root]
    layout = dict.fromkeys(_layout(path, leaf, root) for leaf in siblings for path in _paths(leaf))
    message = (f'data set not found: {osp.abspath(missing)} is missing, empty or not readable; '
               f'expected in {osp.abspath(root)}: {", ".join(layout)}')
    demo = osp.join(osp.dirname(cfg.filename or ''), 'demo', osp.basename(cfg.filename or ''))
    return f'{message} ({demo} needs no download)' if osp.isfile(demo) else message


def _layout(path: str, dataset: dict, root: str) -> str:
    name = osp.relpath(path, root)
    if not path.endswith(os.sep):
        return name
    # Without an annotation file, the folders of the images are the classes (mmpretrain).
    has_labels = dataset.get('ann_file') or isinstance(dataset.get('data_prefix'), dict)
    return f'{name}/' if has_labels else f'{name}/<class>/<image>'


# ---- COCO


def read_coco(file: str) -> dict:
    """Returns the content of a COCO file; raises UsageError for other formats."""
    try:
        content = load(file, file_format='json')
        for key, fields in FIELDS.items():
            for entry in content[key]:
                itemgetter(*fields)(entry)
    except OSError as error:
        raise UsageError(f'{file} cannot be read: {error.strerror}') from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f'{file} is not in COCO format: {first_line(error)}') from error
    return content


def coco_errors(file: str, content: dict, folder: str, classes: Sequence[str] | None = None) -> Iterator[str]:
    """Yields one line per kind of error in a COCO file, with images in ``folder``, that would stop training."""
    for key in FIELDS:
        if not content[key]:
            yield f'{file}: {key} is empty'
        if repeated := _repeated(entry['id'] for entry in content[key]):
            yield f'{file}: {_some(repeated)} of {key} are given to several'
    names = [category['name'] for category in content['categories']]
    if repeated := _repeated(names):
        yield f'{file}: {_some(repeated)} are the names of several categories'
    if missing := _missing(folder, [image['file_name'] for image in content['images']]):
        yield f'{file}: images {_some(missing)} are not in {folder}'
    sizes = {image['id']: [image.get('height'), image.get('width')] for image in content['images']}
    if unsized := [number for number, size in sizes.items() if not _are_finite(size)]:
        yield f'{file}: width and height of images {_some(unsized)} must be given in pixels'
    allowed = {
        'image_id': (lambda a: a.get('image_id') in sizes, 'the id of a listed image'),
        'category_id': (lambda a: 'category_id' in a, 'given'),
        'bbox': (lambda a: _are_finite(a.get('bbox')) and len(a['bbox']) == 4, 'four finite numbers'),
        'area': (lambda a: _are_finite([a.get('area')]), 'a finite number, such as width * height'),
        'segmentation': (lambda a: _is_segmentation(a.get('segmentation'), sizes.get(a.get('image_id'))),
                         'polygons of finite numbers, or a run-length encoding with counts and the size of the image'),
    }
    for key, (is_right, rule) in allowed.items():
        if wrong := [annotation['id'] for annotation in content['annotations'] if not is_right(annotation)]:
            yield f'{file}: {key} of annotations {_some(wrong)} must be {rule}'
    if classes and tuple(name for name in names if name in classes) != tuple(classes):
        yield (f'{file}: mmdet numbers categories in their order in the file, {_some(names)}, and the config has the '
               f'classes {_some(list(classes))}; --coco-folder matches them by name')


def coco_warnings(file: str, content: dict) -> list[str]:
    """Returns a line per kind of annotation in a valid COCO file that mmdet leaves out or misreads.

    Raises UsageError if mmdet leaves out half of the boxes or more, or everything.
    """
    sizes = {image['id']: (image['width'], image['height']) for image in content['images']}
    names = {category['id']: category['name'] for category in content['categories']}
    left_out, beyond, annotations = defaultdict(list), [], content['annotations']
    for annotation in annotations:
        size = sizes[annotation['image_id']]
        if reason := _why_left_out(annotation, size, names):
            left_out[reason].append(annotation['id'])
        x, y, width, height = annotation['bbox']
        if x + width > size[0] + 2 or y + height > size[1] + 2:
            beyond.append(annotation['id'])
    warnings = [f'{file}: mmdet leaves out {len(ids)} of {len(annotations)} annotations, {_some(ids)}: {reason}'
                for reason, ids in left_out.items()]
    of_boxes = sum(len(ids) for reason, ids in left_out.items() if reason != UNKNOWN)
    if 2 * of_boxes >= len(annotations) or sum(map(len, left_out.values())) == len(annotations):
        raise UsageError(warnings[0])
    if beyond:
        warnings.append(f'{file}: boxes of {len(beyond)} of {len(annotations)} annotations, {_some(beyond)}, end '
                        'outside of their images; a box is x, y, width, height, not x1, y1, x2, y2')
    used = {annotation['category_id'] for annotation in annotations}
    if unused := [name for number, name in names.items() if number not in used]:
        warnings.append(f'{file}: categories without annotations: {_some(unused)}')
    return warnings


def _why_left_out(annotation: dict, size: tuple[int, int], categories: Container[int]) -> str | None:
    """Returns why mmdet leaves out an annotation of an image of this width and height, with the cure, or None."""
    x, y, width, height = annotation['bbox']
    polygons = annotation.get('segmentation')
    if annotation['category_id'] not in categories:
        return UNKNOWN
    if width < 0 or height < 0:
        return 'negative width or height; a box is x, y of the upper left corner, width, height'
    if max(x, y, x + width, y + height) <= 1.01 < min(size):
        return 'coordinates from 0 to 1; multiply those of x by the width of the image, of y by its height'
    if annotation['area'] <= 0 or width < 1 or height < 1:
        return 'no area, or a side below one pixel'
    if min(x + width, size[0]) <= max(x, 0) or min(y + height, size[1]) <= max(y, 0):
        return 'box outside of its image; see width and height of the image'
    if isinstance(polygons, list) and polygons and not any(len(p) >= 6 and len(p) % 2 == 0 for p in polygons):
        return 'no polygon of three points'
    return None


def _wrong_sizes(folder: str, images: list[dict]) -> list[str]:
    """Returns a line for each image that is not of the size in its entry of a COCO file."""
    wrong = []
    for image in images:
        path, stated = osp.join(folder, image['file_name']), (image['width'], image['height'])
        if (size := image_size(path)) != stated:
            wrong.append(f'{path} is of {size[0]} x {size[1]} pixels, the annotations have {stated[0]} x {stated[1]}')
    return wrong


def _missing(folder: str, names: list[str]) -> list[str]:
    """Returns the files that are not in a folder, listing each subfolder once."""
    there = dict.fromkeys((osp.dirname(name) for name in names), ())
    for part in there:
        with suppress(OSError), os.scandir(osp.join(folder, part)) as entries:
            there[part] = {entry.name for entry in entries if entry.is_file()}
    return [name for name in names if osp.basename(name) not in there[osp.dirname(name)]]


def _repeated(values: Iterable) -> list:
    return [value for value, count in Counter(values).items() if count > 1]


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
