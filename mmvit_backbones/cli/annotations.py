"""What is wrong with annotations, before they are trained on."""
import json
import math
import os.path as osp
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from os import scandir

from .config import UsageError

KEYS = ('images', 'annotations', 'categories')


def read_coco(file: str) -> dict:
    """What a COCO file holds; one in another format is refused."""
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
    """One line for each kind of mistake in a COCO file, whose images are in a folder, that would stop a training."""
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
    for key, (is_right, told) in allowed.items():
        if wrong := [annotation['id'] for annotation in content['annotations'] if not is_right(annotation)]:
            yield f'{file}: {key} of annotations {_some(wrong)} must be {told}'


def coco_left_out(file: str) -> Counter:
    """How many annotations of a sound COCO file mmdet leaves out, by the reason."""
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
    """The files that are not in a folder; each folder in it is listed once."""
    there = dict.fromkeys((osp.dirname(name) for name in names), ())
    for part in there:
        with suppress(OSError), scandir(osp.join(folder, part)) as entries:
            there[part] = {entry.name for entry in entries if entry.is_file()}
    return [name for name in names if osp.basename(name) not in there[osp.dirname(name)]]


def _some(values: list) -> str:
    more = f' and {len(values) - 3} more' if len(values) > 3 else ''
    return ', '.join(map(str, values[:3])) + more


def _are_finite(values) -> bool:
    return isinstance(values, list) and all(isinstance(x, (int, float)) and math.isfinite(x) for x in values)


def _is_segmentation(segmentation, size: list[int] | None) -> bool:
    """Polygons, a run-length encoding of the image's size, or nothing."""
    if isinstance(segmentation, dict):
        return 'counts' in segmentation and (size is None or segmentation.get('size') == size)
    return segmentation is None or isinstance(segmentation, list) and all(map(_are_finite, segmentation))
