"""Reads, completes and checks annotation files in COCO format."""
import json
import os.path as osp
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from mmvit_backbones.errors import UsageError, first_line
from mmvit_backbones.utils.files import short_path
from mmvit_backbones.utils.text import read_text

from ..utils.distributed import is_first_process
from ..utils.images import SUFFIXES, image_size, is_hidden
from .folders import composed, refuse_others
from .problems import Problem, check_share, is_half, some, warn
from .segmentations import polygon_error, usable_segmentation
from .text import check_class_names

REQUIRED = dict(images=('id', 'file_name'), annotations=(), categories=('id', 'name'))
IDS = 'id', 'image_id', 'category_id'
CROWD = 'iscrowd=1, which marks groups of objects that training ignores'
BOX = 'a box is x, y, width, height, not x1, y1, x2, y2'
SCALE = 'multiply x by the width of the image and y by its height'
MAX_ID = 2**53  # pycocotools stores ids as float64
ANNOTATIONS_TO_CHECK = 100_000  # keeps the start of training fast
IMAGES_TO_CHECK = 100  # the same for sizes
MIN_IOU = 0.5  # of a box and the bounding box of its polygons


def read_coco(file: str) -> dict:
    """Returns the content of a COCO file.

    Raises:
        UsageError: If the file cannot be read or is not in COCO format.
    """
    try:
        content = json.loads(read_text(file))
        for key, fields in REQUIRED.items():
            for entry in content[key]:
                if missing := [field for field in fields if entry.get(field) is None]:
                    raise ValueError(f'{missing[0]} is missing in {key}: {entry!r:.80}')
                for field in IDS:
                    if not isinstance(entry.get(field), (int, float, str, type(None))):
                        raise TypeError(f'{field} of {key} must be a number or a string, got {entry[field]!r:.80}')
        if wrong := [image['file_name'] for image in content['images'] if not isinstance(image['file_name'], str)]:
            raise TypeError(f'file_name of images must be a string, got {wrong[0]!r:.80}')
    except UsageError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f'{file} is not in COCO format: {first_line(error)}') from error
    return content


def reorder(content: dict, classes: tuple[str, ...]) -> dict:
    """Returns the content of a COCO file with its categories in the order of ``classes``; adds missing categories.

    Raises:
        UsageError: If annotations have a category that is not in ``classes``.
    """
    ids = {category['name']: category['id'] for category in content['categories']}
    used = {annotation.get('category_id') for annotation in content['annotations']}
    refuse_others(classes, {name for name, number in ids.items() if number in used})
    free = max((number for number in (*ids.values(), *used) if isinstance(number, int)), default=0) + 1
    return dict(content, categories=[dict(id=ids.get(name, free + i), name=name) for i, name in enumerate(classes)])


# ---- image files


def report_images(folders: dict[str, list[dict]]) -> None:
    """Prints how many images the annotation files list, and warns if a folder has images that are not listed.

    Args:
        folders (dict[str, list[dict]]): Contents of the COCO files, keyed by the folder of their images.
    """
    for folder, contents in folders.items():
        listed, annotated = set(), set()
        for content in contents:
            names = {image['id']: osp.normpath(image['file_name']) for image in content['images']}
            listed.update(names.values())
            annotated.update(names[a['image_id']] for a in content['annotations'] if a.get('image_id') in names)
        found = {name for name in _files(folder, listed) if name.lower().endswith(SUFFIXES) and not is_hidden(name)}
        text = f'{osp.join(short_path(folder), "")}: {len(listed)} images in the annotation files'
        if empty := len(listed - annotated):
            text += f', {empty} without annotations'
        if others := found - listed:
            warn(f'{text}; {len(others)} of {len(found)} images are not in the annotation files and are left out, e.g. '
                 f'{min(others)}')
        elif is_first_process():
            print(text)


def _files(folder: str, names: Iterable[str]) -> set[str]:
    """Returns the relative paths of the files in a folder and in the subfolders used in ``names``."""
    parts = {'', *(osp.dirname(osp.normpath(name)) for name in names)}
    return {osp.join(part, path.name) for part in parts if (place := Path(folder, part)).is_dir()
            for path in place.iterdir() if path.is_file()}


def check_sizes(file: str, images: list[dict], folder: str) -> None:
    """Compares image sizes with a COCO file; raises UsageError if at least half differ, and warns if fewer differ."""
    wrong = [error for image in images if (error := _size_error(image, folder))]
    check_share(wrong, len(images), f'correct the sizes in {file}, and the boxes if they were drawn for those sizes')


def check_sizes_of_run_lengths(file: str, content: dict, folder: str) -> None:
    """Raises UsageError if the size of an image that has run lengths differs from that in a COCO file."""
    used = {annotation['image_id'] for annotation in content['annotations']
            if isinstance(annotation.get('segmentation'), dict)}
    for image in content['images']:
        if image['id'] in used and (error := _size_error(image, folder)):
            raise UsageError(f'{error}; its run lengths are of no use then: correct them in {file}')


def _size_error(image: dict, folder: str) -> str:
    path, stated = osp.join(folder, image['file_name']), (image['width'], image['height'])
    size = image_size(path)
    return '' if size == stated else (f'{path} has {size[0]} x {size[1]} pixels, but the annotations say {stated[0]} x '
                                      f'{stated[1]} (width x height)')


# ---- checks


def coco_problems(file: str, content: dict, folder: str, classes: Sequence[str] | None = None,
                  is_evaluated: bool = True, num_images: int = 0, needs_masks: bool = False) -> list[Problem]:
    """Returns the problems in a COCO file.

    Invalid entries, which would stop a run, are errors. If there are none, the file is also checked for suspicious
    entries. Most kinds of these are errors if they affect at least half of the entries, and warnings otherwise.

    Args:
        file (str): Path of the file, for the messages.
        content (dict): Content of the file.
        folder (str): Folder of the images.
        classes (Sequence[str] | None): Classes of the config; the categories must have the same order. Defaults to
            None: allows any order.
        is_evaluated (bool): Whether the file is used for evaluation, which requires ``iscrowd``, and unique positive
            integers as ids of annotations. Defaults to True.
        num_images (int): Maximum number of images whose sizes are compared. If positive, at most
            ``ANNOTATIONS_TO_CHECK`` annotations are checked for suspicious values. Defaults to 0: checks all
            annotations, but no sizes.
        needs_masks (bool): Whether masks are used, which all annotations must have then. Defaults to False.
    """
    invalid = [*_invalid_lists(content, folder), *_invalid_annotations(content, is_evaluated),
               *_invalid_categories(content, classes, is_evaluated)]
    if needs_masks:
        invalid += _invalid_masks(content, is_evaluated)
    if invalid:
        return [Problem(f'{file}: {text}', True) for text in invalid]
    annotations = _spread(content['annotations'], ANNOTATIONS_TO_CHECK if num_images else len(content['annotations']))
    problems = [Problem(f'{file}: {text}', is_error)
                for text, is_error in (*_suspicious_lists(content), *_suspicious_annotations(content, annotations))]
    if num_images and not any(problem.is_error for problem in problems):
        try:
            check_sizes(file, _spread(content['images'], num_images), folder)
            if needs_masks:
                check_sizes_of_run_lengths(file, content, folder)
        except UsageError as error:
            return [Problem(str(error), True)]
    return problems


def _spread(entries: list, number: int) -> list:
    """Returns about ``number`` entries, evenly spaced in the list."""
    return entries[::-(-len(entries) // number)]


def _invalid_lists(content: dict, folder: str) -> Iterator[str]:
    for key in REQUIRED:
        counts = Counter(entry.get('id') for entry in content[key])
        if not counts:
            yield f'{key} is empty'
        if None in counts:
            yield f'all {key} must have an id'
        elif key != 'annotations' and not all(isinstance(each, str) or abs(each) <= MAX_ID for each in counts):
            yield f'ids of {key} must be finite, and at most {MAX_ID}'
        elif key != 'annotations' and len({isinstance(each, str) for each in counts}) > 1:
            yield f'ids of {key} must be all numbers or all strings, got both'
        elif repeated := [number for number, count in counts.items() if count > 1]:
            yield f'ids of {key} must be unique, got duplicates of {some(repeated)}'
    try:
        check_class_names([category['name'] for category in content['categories']], 'categories')
    except UsageError as error:
        yield str(error)
    names = [image['file_name'] for image in content['images']]
    files = _files(folder, names)
    if missing := [name for name in names if osp.normpath(name) not in files]:
        known = {composed(name) for name in files}
        is_form = composed(osp.normpath(missing[0])) in known
        yield f'images {some(missing)} are not in {folder}' + is_form * (
            ', where the names have another Unicode form (NFC or NFD); rename the files, or use --coco-folder')
    if unsized := [image['id'] for image in content['images']
                   if not are_numbers(size := [image.get('width'), image.get('height')]) or min(size) <= 0]:
        yield f'width and height of images {some(unsized)} must be positive numbers of pixels'


def _invalid_annotations(content: dict, is_evaluated: bool) -> Iterator[str]:
    ids = {image['id'] for image in content['images']}
    rules: dict[str, tuple[Callable[[dict], Any], str]] = {
        'image_id': (lambda a: a.get('image_id') in ids, 'the id of a listed image'),
        'category_id': (lambda a: a.get('category_id') is not None, 'given'),
        'bbox': (lambda a: are_numbers(a.get('bbox')) and len(a['bbox']) == 4, 'four finite numbers'),
        'area': (lambda a: are_numbers([a.get('area')]), 'a finite number, such as width * height'),
        'iscrowd': (lambda a: a.get('iscrowd', None if is_evaluated else 0) in (0, 1),
                    '0 or 1, as required by pycocotools'),
    }
    if is_evaluated:
        rules['id'] = (lambda a: is_id(a.get('id')), f'integers from 1 to {MAX_ID}; --coco-folder numbers them')
    for key, (is_right, rule) in rules.items():
        if wrong := [annotation.get('id') for annotation in content['annotations'] if not is_right(annotation)]:
            yield f'{key} of annotations {some(wrong)} must be {rule}'


def _invalid_masks(content: dict, is_evaluated: bool) -> Iterator[str]:
    """Yields texts about annotations whose masks cannot be used, or that have none."""
    sizes = {image['id']: (image.get('height'), image.get('width')) for image in content['images']}
    known = {category['id'] for category in content['categories']}
    wrong, lacking = {}, []
    for annotation in content['annotations']:
        size = sizes.get(annotation.get('image_id'), (None, None))
        if not is_size(size[0]) or not is_size(size[1]):
            continue  # another error
        given = annotation.get('segmentation')
        usable, reasons = usable_segmentation(given, *map(int, size))
        if given and usable is not given:
            wrong[annotation.get('id')] = (reasons or ['polygons must be lists, and run lengths integers'])[0]
        elif usable is None and (is_evaluated or is_read_by_mmdet(annotation, size, known)):
            lacking.append(annotation.get('id'))
    if wrong:
        yield f'masks of annotations {some(list(wrong))} cannot be used, the first because {next(iter(wrong.values()))}'
    if lacking:
        yield (f'{len(lacking)} of {len(content["annotations"])} annotations have no mask (ids {some(lacking)}); add '
               'them, or use a detector without masks, e.g. configs/retinanet_*.py')


def is_read_by_mmdet(annotation: dict, size: tuple, categories: set) -> bool:
    """Returns whether mmdet's data sets do not leave out an annotation, for the height and the width of its image."""
    box: Any = annotation.get('bbox')
    if not are_numbers(box) or len(box) != 4 or not are_numbers([annotation.get('area')]):
        return True  # another error
    x, y, width, height = box
    is_inside = min(x + width, size[1]) > max(x, 0) and min(y + height, size[0]) > max(y, 0)
    return (is_inside and annotation['area'] > 0 and width >= 1 and height >= 1
            and annotation.get('category_id') in categories and not annotation.get('ignore'))


def _invalid_categories(content: dict, classes: Sequence[str] | None, is_evaluated: bool) -> Iterator[str]:
    names = {category['id']: category['name'] for category in content['categories']}
    if is_evaluated and (wrong := [number for number in names if type(number) is not int]):
        yield (f'ids of categories must be integers, by which pycocotools finds their names, got {some(wrong)}; '
               '--coco-folder numbers them')
    used = {annotation.get('category_id') for annotation in content['annotations']}
    for shift in (1, -1):
        are_numbers = all(isinstance(number, int) for number in used)
        if are_numbers and not used <= names.keys() and {number + shift for number in used} <= names.keys():
            yield (f'the annotations have category_id {some(sorted(used))}, but the categories have id '
                   f'{some(list(names))}: the ids are shifted by one')
    if classes and tuple(name for name in names.values() if name in classes) != tuple(classes):
        yield (f'the categories must be in the order of the classes in the config, {some(list(classes))}, got '
               f'{some(list(names.values()))}; use --coco-folder to match them by name')


def _suspicious_lists(content: dict) -> Iterator[tuple[str, bool]]:
    """Yields texts about entries of the lists, and whether they are errors."""
    total, counts = len(content['images']), Counter(image['file_name'] for image in content['images'])
    if surplus := total - len(counts):
        yield (f'{surplus} of {total} images have the same file as another image, e.g. {counts.most_common(1)[0][0]}',
               is_half(surplus, total))
    used = {annotation['category_id'] for annotation in content['annotations']}
    if unused := [category['name'] for category in content['categories'] if category['id'] not in used]:
        yield f'categories without annotations: {some(unused)}', False


def _suspicious_annotations(content: dict, annotations: list[dict]) -> Iterator[tuple[str, bool]]:
    """Yields texts about valid annotations, and whether they are errors; only an annotation's first reason counts."""
    size_of = {image['id']: (image['width'], image['height']) for image in content['images']}
    known = {category['id'] for category in content['categories']}
    sizes = np.array([size_of[annotation['image_id']] for annotation in annotations], dtype=float)
    boxes = np.array([annotation['bbox'] for annotation in annotations], dtype=float)
    extents = np.array([_extent(annotation.get('segmentation')) for annotation in annotations])  # x1, y1, x2, y2
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    is_beyond = (high > sizes + 2).any(1)
    is_apart = _iou(np.hstack([low, high]), extents) < MIN_IOU
    fits_as_corners = _iou(boxes, extents) >= MIN_IOU
    cases = {
        'mmdet leaves out {}: category_id not in the list of categories':
            np.array([annotation['category_id'] not in known for annotation in annotations]),
        'mmdet leaves out {}: negative width or height; a box is x, y of the upper left corner, width, height':
            (boxes[:, 2:] < 0).any(1),
        f'mmdet leaves out {{}}: coordinates from 0 to 1; {SCALE}': (high.max(1) <= 1.01) & (sizes.min(1) > 1.01),
        'mmdet leaves out {}: no area, or a side shorter than one pixel':
            np.array([annotation['area'] <= 0 for annotation in annotations]) | (boxes[:, 2:] < 1).any(1),
        'mmdet leaves out {}: box outside its image; check the width and height of the image':
            (np.minimum(high, sizes) <= np.maximum(low, 0)).any(1),
        f'mmdet leaves out {{}}: {CROWD}': np.array([bool(annotation.get('iscrowd')) for annotation in annotations]),
        f'boxes of {{}} seem to be x1, y1, x2, y2; {BOX}':
            (boxes[:, 2:] > low).all(1) & (is_beyond & np.isnan(extents[:, 0]) | is_apart & fits_as_corners),
        f'segmentations of {{}} have values from 0 to 1; {SCALE}': is_apart & (extents.max(1) <= 1.01),
        'segmentations of {} do not match their boxes, perhaps because they are for another image size': is_apart,
        f'boxes of {{}} extend beyond their images; {BOX}': is_beyond,
    }
    is_free = np.ones(len(annotations), dtype=bool)
    for text, mask in cases.items():
        wrong = [annotations[i].get('id') for i in (mask & is_free).nonzero()[0]]
        is_free &= ~mask
        is_error = is_half(len(wrong), len(annotations))
        if CROWD in text:  # many crowds may be intended, but nothing can be learned from crowds alone
            is_error = len(wrong) == len(annotations)
        elif 'beyond' in text:
            is_error = False
        if wrong:
            yield text.format(f'{len(wrong)} of {len(annotations)} annotations (ids {some(wrong)})'), is_error


def _extent(segmentation: object) -> list[float]:
    """Returns the bounding box x1, y1, x2, y2 of polygons; NaN for run lengths and without polygons."""
    if not isinstance(segmentation, list) or not segmentation or any(map(polygon_error, segmentation)):
        return [np.nan] * 4
    points = np.concatenate(segmentation).reshape(-1, 2)
    return [*points.min(0), *points.max(0)]


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the IoU of corresponding boxes x1, y1, x2, y2 in two arrays (N, 4); NaN if a box has NaN."""
    inter = (np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])).clip(0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - inter
    return inter / np.where(union > 0, union, 1)


def is_id(value: object) -> bool:
    """Returns whether pycocotools can use a value as the id of an annotation; it takes 0 for not found."""
    return type(value) is int and 0 < value <= MAX_ID


def is_size(value: object) -> bool:
    """Returns whether a value is the height or the width of an image in pixels."""
    return type(value) is int and value > 0 or isinstance(value, float) and value > 0 and value.is_integer()


def are_numbers(values: object) -> bool:
    """Returns whether a value is a list of finite numbers."""
    try:
        return isinstance(values, list) and isfinite(sum(values))
    except (TypeError, OverflowError):
        return False
