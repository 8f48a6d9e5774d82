"""Reads, completes and checks annotation files in COCO format."""
import gc
import json
import os
import os.path as osp
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import chain
from math import isfinite
from operator import methodcaller
from pathlib import Path

import numpy as np

from ..errors import UsageError, first_line
from ..utils.distributed import is_first_process
from ..utils.images import SUFFIXES, image_size
from .folders import Split, is_hidden, refuse_others
from .mistakes import Mistake, check_share, is_half, some, warn
from .text import check_class_names, read_text

try:
    import orjson  # three times as fast as json
except ImportError:
    orjson = None

ID, OPTIONAL_ID = (int, float, str), (int, float, str, type(None))
FIELDS = {  # fields of the entries and their allowed types
    'images': dict(id=ID, file_name=str),
    'annotations': dict(id=OPTIONAL_ID, image_id=OPTIONAL_ID, category_id=OPTIONAL_ID),
    'categories': dict(id=ID, name=object),
}
CROWD = 'iscrowd=1, which marks groups of objects that training ignores'
MIN_IOU = 0.5  # of a box and the bounding box of its polygons
BOX = 'a box is x, y, width, height, not x1, y1, x2, y2'
SCALE = 'multiply x by the width of the image and y by its height'


@contextmanager
def without_collection() -> Iterator[None]:
    """Disables the garbage collector, which would repeatedly traverse millions of new objects."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            if not gc.get_freeze_count():
                # Together, the two calls move the new objects to the oldest generation, which is rarely collected.
                gc.freeze()
                gc.unfreeze()
            gc.enable()


@without_collection()
def read_coco(file: str) -> dict:
    """Returns the content of a COCO file; caches the last two files until :func:`forget_files` is called.

    Raises:
        UsageError: If the file cannot be read or is not in COCO format.
    """
    try:
        state = os.stat(file)
        return _read_file(file, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise UsageError(f'{file} cannot be read: {error.strerror}') from error
    except UsageError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f'{file} is not in COCO format: {first_line(error)}') from error


@lru_cache(maxsize=2)
def _read_file(file: str, modified: int, size: int) -> dict:
    content = _parse(file)
    for key, fields in FIELDS.items():
        for field, kind in fields.items():
            if wrong := [found for found in _types(_column(content[key], field)) if not issubclass(found, kind)]:
                value = next(value for value in _column(content[key], field) if type(value) is wrong[0])
                raise TypeError(f'{field} of {key} must be a string{"" if kind is str else " or a number"}, got '
                                f'{value!r}')
    return content


def _parse(file: str) -> dict:
    if orjson and osp.isfile(file):
        with suppress(ValueError):  # orjson accepts neither NaN nor encodings other than UTF-8
            return orjson.loads(Path(file).read_bytes())
    return json.loads(read_text(file))


forget_files = _read_file.cache_clear


def to_text(content: dict) -> str:
    """Returns the content of a COCO file as JSON text."""
    return orjson.dumps(content).decode() if orjson else json.dumps(content)


# ---- modification


def complete(content: dict) -> list[str]:
    """Adds missing fields to annotations and strips the names of categories; returns a message per kind of change.

    The added fields are ``iscrowd`` (0), ``area`` (the area of the polygons or, without polygons, of the box) and
    ``id``.
    """
    annotations, changes = content['annotations'], []
    for key in ('iscrowd', 'area', 'id'):
        if lacking := [a for a in annotations if a.get(key) is None]:
            last = max((a['id'] for a in annotations if isinstance(a.get('id'), int)), default=0)
            for number, annotation in enumerate(lacking, last + 1):
                annotation[key] = dict(iscrowd=0, area=_area(annotation), id=number)[key]
            changes.append(f'{key} added to {len(lacking)} annotations')
    padded = [c for c in content['categories'] if isinstance(c['name'], str) and c['name'] != c['name'].strip()]
    for category in padded:
        category['name'] = category['name'].strip()
    if padded:
        changes.append(f'spaces stripped from the names of {len(padded)} categories')
    return changes


def _area(annotation: dict) -> float | None:
    """Returns the area of an annotation's polygons or, without polygons, of its box; None if they are invalid."""
    polygons = annotation.get('segmentation')
    try:
        if polygons and isinstance(polygons, list):
            points = [np.array(polygon, dtype=float).reshape(-1, 2) for polygon in polygons]
            return float(sum(abs(np.dot(p[:, 0], np.roll(p[:, 1], 1)) - np.dot(p[:, 1], np.roll(p[:, 0], 1))) / 2
                             for p in points))
        return float(annotation['bbox'][2] * annotation['bbox'][3])
    except (KeyError, IndexError, TypeError, ValueError):
        return None  # the checks report the invalid field


def divide(content: dict, split: Split) -> list[dict]:
    """Splits the content of a COCO file; returns one part for training and one for validation."""
    parts = []
    for images in split.divide(content['images']):
        ids = {image['id'] for image in images}
        annotations = [annotation for annotation in content['annotations'] if annotation.get('image_id') in ids]
        parts.append(dict(content, images=images, annotations=annotations))
    return parts


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
        images: dict[str, bool] = {}  # whether the image has annotations
        for content in contents:
            annotated = {annotation.get('image_id') for annotation in content['annotations']}
            for image in content['images']:
                images[image['file_name']] = images.get(image['file_name'], False) or image['id'] in annotated
        empty = len(images) - sum(images.values())
        found = {osp.join(part, name) for part, names in _files(folder, images).items() for name in names
                 if name.lower().endswith(SUFFIXES) and not is_hidden(name)}
        text = f'{osp.join(folder, "")}: {len(images)} images in the annotation files, {empty} without annotations'
        if others := found - images.keys():
            warn(f'{text}; {len(others)} of {len(found)} images are not in the annotation files and are left out, e.g. '
                 f'{min(others)}')
        elif is_first_process():
            print(text)


def _files(folder: str, names: Iterable[str]) -> dict[str, set[str]]:
    """Returns the names of the files in a folder and in the subfolders used in ``names``, keyed by subfolder."""
    files: dict[str, set[str]] = {part: set() for part in ['', *map(osp.dirname, names)]}
    for part in files:
        with suppress(OSError), os.scandir(osp.join(folder, part)) as entries:
            files[part] = {entry.name for entry in entries if entry.is_file()}
    return files


def check_sizes(file: str, images: list[dict], folder: str) -> None:
    """Compares image sizes with a COCO file; raises UsageError if at least half differ, and warns if fewer differ."""
    wrong = []
    for image in images:
        path, stated = osp.join(folder, image['file_name']), (image['width'], image['height'])
        if (size := image_size(path)) != stated:
            wrong.append(f'{path} has {size[0]} x {size[1]} pixels, but the annotations say {stated[0]} x {stated[1]} '
                         '(width x height)')
    check_share(wrong, len(images), f'correct the sizes in {file}, and the boxes if they were drawn for those sizes')


# ---- checks


@without_collection()
def coco_mistakes(file: str, content: dict, folder: str, classes: Sequence[str] | None = None,
                  is_evaluated: bool = True, num_outlines: int | None = None) -> list[Mistake]:
    """Returns the mistakes in a COCO file.

    Invalid entries, which would stop a run, are errors. If there are none, the file is also checked for suspicious
    entries. Most kinds of these are errors if they affect at least half of the entries, and warnings otherwise.

    Args:
        file (str): Path of the file, for the messages.
        content (dict): Content of the file.
        folder (str): Folder of the images.
        classes (Sequence[str] | None): Classes of the config; the categories must have the same order. Defaults to
            None: allows any order.
        is_evaluated (bool): Whether the file is used for evaluation, which requires ``iscrowd``. Defaults to True.
        num_outlines (int | None): Maximum number of segmentations that are compared with their boxes. Defaults to
            None: compares all.
    """
    checks = _Checks(file, content, folder)
    if invalid := list(checks.invalid_entries(classes, is_evaluated)):
        return invalid
    return [*checks.suspicious_images(), *checks.suspicious_annotations(num_outlines)]


class _Checks:

    def __init__(self, file: str, content: dict, folder: str) -> None:
        self.file, self.content, self.folder = file, content, folder
        self.images, self.annotations = content['images'], content['annotations']
        self.columns = _Columns(self.annotations)

    def mistake(self, text: str, images: Iterable[dict] = (), is_error: bool = True) -> Mistake:
        return Mistake(f'{self.file}: {text}', is_error, tuple(osp.join(self.folder, i['file_name']) for i in images))

    def about(self, wrong: list[dict], text: str, is_error: bool = True) -> Mistake:
        """Returns a mistake in the annotations ``wrong``, whose ids replace ``{}`` in the text."""
        by_id = {image['id']: image for image in self.images}
        images = (by_id.get(a.get('image_id')) for a in wrong)
        return self.mistake(text.format(some([a.get('id') for a in wrong])), filter(None, images), is_error)

    # -- errors

    def invalid_entries(self, classes: Sequence[str] | None, is_evaluated: bool) -> Iterator[Mistake]:
        for key in FIELDS:
            entries = self.content[key]
            if not entries:
                yield self.mistake(f'{key} is empty')
            ids = self.columns['id'] if key == 'annotations' else _column(entries, 'id')
            if None in ids:
                yield self.mistake(f'all {key} must have an id')
            elif repeated := _repeated(ids):
                yield self.mistake(f'ids of {key} must be unique, got duplicates of {some(repeated)}')
        try:
            check_class_names([category['name'] for category in self.content['categories']], self.file)
        except UsageError as error:
            yield Mistake(str(error), True)
        yield from self._missing_files()
        yield from self._invalid_values(is_evaluated)
        yield from self._invalid_categories(classes)

    def _missing_files(self) -> Iterator[Mistake]:
        files = _files(self.folder, (image['file_name'] for image in self.images))
        if missing := [image['file_name'] for image in self.images
                       if osp.basename(image['file_name']) not in files[osp.dirname(image['file_name'])]]:
            yield self.mistake(f'images {some(missing)} are not in {self.folder}')

    def _invalid_values(self, is_evaluated: bool) -> Iterator[Mistake]:
        sizes = {image['id']: [image.get('height'), image.get('width')] for image in self.images}
        if unsized := [image for image in self.images if not _is_size(sizes[image['id']])]:
            ids = some([image['id'] for image in unsized])
            yield self.mistake(f'width and height of images {ids} must be positive numbers of pixels', unsized)
        # For each field: a fast check of all values, a slow check of one annotation, and the allowed values.
        rules: dict[str, tuple[Callable[[list], bool], Callable[[dict], bool], str]] = {
            'image_id': (lambda values: all(map(sizes.__contains__, values)), lambda a: a.get('image_id') in sizes,
                         'the id of a listed image'),
            'category_id': (lambda values: None not in values, lambda a: a.get('category_id') is not None, 'given'),
            'bbox': (_are_boxes, lambda a: _are_finite(a.get('bbox')) and len(a['bbox']) == 4, 'four finite numbers'),
            'area': (_are_finite, lambda a: _is_finite(a.get('area')), 'a finite number, such as width * height'),
            'iscrowd': (lambda values: _types(values) <= {int, bool} and set(values) <= {0, 1},
                        lambda a: a.get('iscrowd', None if is_evaluated else 0) in (0, 1),
                        '0 or 1, as required by pycocotools'),
            'segmentation': (
                lambda values: self._are_segmentations(values, sizes),
                lambda a: _is_segmentation(a.get('segmentation'), sizes.get(a.get('image_id'))),
                'polygons of finite numbers, or a run-length encoding with counts and the size of the image'),
        }
        is_valid = True
        for key, (are_right, is_right, rule) in rules.items():
            if are_right(self.columns[key]):
                continue
            if wrong := [a for a in self.annotations if not is_right(a)]:
                is_valid = False
                yield self.about(wrong, f'{key} of annotations {{}} must be {rule}')
        encoded = [a for a, value in zip(self.annotations, self.columns['segmentation']) if type(value) is dict]
        if is_valid and (wrong := _wrong_run_lengths(encoded)):
            yield self.about(wrong, 'segmentation of annotations {} must be run lengths whose sum is height * width of '
                             'the image')

    def _are_segmentations(self, values: list, sizes: dict) -> bool:
        """Returns whether each value is None, a list of polygons, or a run-length encoding with the image's size."""
        polygons = [value for value in values if type(value) is list]
        others = (a for a, value in zip(self.annotations, values) if type(value) is not list)
        return _are_polygons(polygons) and all(
            _is_segmentation(a.get('segmentation'), sizes.get(a.get('image_id'))) for a in others)

    def _invalid_categories(self, classes: Sequence[str] | None) -> Iterator[Mistake]:
        names = {category['id']: category['name'] for category in self.content['categories']}
        used = set(self.columns['category_id'])
        for shift in (1, -1):
            are_numbers = all(isinstance(number, int) for number in used)
            if are_numbers and not used <= names.keys() and {number + shift for number in used} <= names.keys():
                yield self.mistake(f'the annotations have category_id {some(sorted(used))}, but the categories have id '
                                   f'{some(list(names))}: the ids are shifted by one')
        if classes and tuple(name for name in names.values() if name in classes) != tuple(classes):
            yield self.mistake(f'the categories must be in the order of the classes in the config, '
                               f'{some(list(classes))}, got {some(list(names.values()))}; use --coco-folder to match '
                               'them by name')

    # -- suspicious entries

    def suspicious_images(self) -> Iterator[Mistake]:
        names = Counter(image['file_name'] for image in self.images)
        if repeated := [image for image in self.images if names[image['file_name']] > 1]:
            surplus = len(self.images) - len(names)
            yield self.mistake(f'{surplus} of {len(self.images)} images have the same file as another image, e.g. '
                               f'{repeated[0]["file_name"]}', repeated, is_half(surplus, len(self.images)))

    def suspicious_annotations(self, num_outlines: int | None) -> Iterator[Mistake]:
        total = len(self.annotations)
        table = _Table(self.content, self.columns, every=-(-total // (num_outlines or total)))
        compared = int(table.is_compared.sum())
        cases = {f'mmdet leaves out {{}}: {reason}': (mask, total) for reason, mask in table.reasons_left_out().items()}
        # Many crowds may be intended, but nothing can be learned if all annotations are crowds.
        crowds = next((text for text in cases if text.endswith(CROWD)))
        is_all_crowd = bool(cases[crowds][0].all())
        cases[f'boxes of {{}} seem to be x1, y1, x2, y2; {BOX}'] = table.has_corners, total
        cases[f'segmentations of {{}} do not match their boxes; {table.why_apart()}'] = table.is_apart, compared
        # All mistakes together may affect half of the annotations even if no single kind of mistake does.
        others = {text: case for text, case in cases.items() if text != crowds}
        is_any_half = any(is_half(int(mask.sum()), number) for mask, number in others.values())
        together = np.logical_or.reduce([mask[table.is_compared] for mask, _ in others.values()])
        are_half = not is_any_half and is_half(int(together.sum()), compared)
        for text, (mask, number) in cases.items():
            if wrong := [self.annotations[i] for i in mask.nonzero()[0]]:
                yield self.about(wrong, text.format(f'{len(wrong)} of {number} annotations (ids {{}})'),
                                 is_all_crowd if text == crowds else are_half or is_half(len(wrong), number))
        if beyond := [self.annotations[i] for i in (table.is_beyond & ~table.has_corners).nonzero()[0]]:
            yield self.about(beyond, f'boxes of {len(beyond)} of {total} annotations (ids {{}}) extend beyond their '
                             f'images; {BOX}', is_error=False)
        used = set(self.columns['category_id'])
        if unused := [c['name'] for c in self.content['categories'] if c['id'] not in used]:
            yield self.mistake(f'categories without annotations: {some(unused)}', is_error=False)


class _Columns(dict):
    """Maps a key to its value in each entry; collects the values once, because iterating over the entries is slow."""

    def __init__(self, entries: list[dict]) -> None:
        self.entries = entries

    def __missing__(self, key: str) -> list:
        self[key] = _column(self.entries, key)
        return self[key]


class _Table:
    """Arrays with one row per annotation of a valid file; compares every ``every``-th segmentation with its box."""

    def __init__(self, content: dict, columns: '_Columns', every: int) -> None:
        total = len(content['annotations'])
        places = {image['id']: place for place, image in enumerate(content['images'])}
        sizes = _matrix([(image['width'], image['height']) for image in content['images']], 2)
        categories = {category['id'] for category in content['categories']}
        segmentations = columns['segmentation']
        self.boxes = _matrix(columns['bbox'], 4)  # x, y, width, height
        self.sizes = sizes[np.fromiter(map(places.get, columns['image_id']), int, total)]  # width, height
        self.areas = np.fromiter(columns['area'], float, total)
        self.is_crowd = _flags(bool, columns['iscrowd'])
        self.is_known = _flags(categories.__contains__, columns['category_id'])
        self.is_compared = np.arange(total) % every == 0
        self.has_segmentation = _flags(bool, segmentations)
        self.lacks_points = _lack_points(segmentations)
        self.extents = np.full((total, 4), np.nan)  # x1, y1, x2, y2
        self.extents[::every] = _extents(segmentations[::every])
        self.corners = np.hstack([self.boxes[:, :2], self.boxes[:, :2] + self.boxes[:, 2:]])
        low, high = self.corners[:, :2], self.corners[:, 2:]
        is_visible = (np.minimum(high, self.sizes) > np.maximum(low, 0)).all(1)
        self.is_outside = ~is_visible
        self.is_beyond = (high > self.sizes + 2).any(1)
        self.has_corners = self._has_corners()
        self.is_apart = _iou(self.corners, self.extents) < MIN_IOU  # False where the extent is NaN
        left_out = np.logical_or.reduce(list(self.reasons_left_out().values()))
        for mask in (self.is_beyond, self.has_corners, self.is_apart):
            mask &= ~left_out

    def reasons_left_out(self) -> dict[str, np.ndarray]:
        """Returns a mask for each reason why mmdet leaves out annotations; only an annotation's first reason counts."""
        width, height = self.boxes[:, 2:].T
        cases = {
            'category_id not in the list of categories': ~self.is_known,
            'negative width or height; a box is x, y of the upper left corner, width, height':
                (width < 0) | (height < 0),
            f'coordinates from 0 to 1; {SCALE}':
                (self.corners.max(1) <= 1.01) & (self.sizes.min(1) > 1.01),
            'no area, or a side shorter than one pixel': (self.areas <= 0) | (width < 1) | (height < 1),
            'box outside its image; check the width and height of the image': self.is_outside,
            'no polygon with at least three points, in training with masks': self.has_segmentation & self.lacks_points,
            CROWD: self.is_crowd,
        }
        free = np.ones(len(self.boxes), dtype=bool)
        for reason, mask in cases.items():
            cases[reason] = mask & free
            free &= ~mask
        return cases

    def _has_corners(self) -> np.ndarray:
        """Returns a mask of the boxes that are probably x1, y1, x2, y2.

        Such a box has x1 < x2 and y1 < y2. Read as x, y, width, height, the box extends beyond the image or is larger
        than the stated area, which equals (x2 - x1) * (y2 - y1) instead. For annotations with a segmentation, the
        stated area is ignored, because it is the area of the segmentation.
        """
        x, y, width, height = self.boxes.T
        corner_areas = (width - x) * (height - y)
        has_corner_area = (abs(corner_areas - self.areas) <= 0.01 * self.areas) & (width * height > 1.05 * self.areas)
        return (width > x) & (height > y) & (self.is_beyond | has_corner_area & ~self.has_segmentation)

    def why_apart(self) -> str:
        """Returns the likely reason why segmentations do not match their boxes."""
        extents, boxes, sizes = (values[self.is_apart] for values in (self.extents, self.boxes, self.sizes))
        if 2 * (_iou(boxes, extents) >= MIN_IOU).sum() >= len(boxes):
            return BOX
        if 2 * (extents.max(1) <= 1.01).sum() >= len(boxes):
            return f'they have values from 0 to 1; {SCALE}'
        return 'boxes and segmentations may be for different image sizes'


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the IoU of corresponding boxes x1, y1, x2, y2 in two arrays (N, 4); NaN if a box has NaN."""
    inter = (np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])).clip(0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - inter
    return inter / np.where(union > 0, union, 1)


def _polygons(segmentation: list) -> list[list[float]]:
    """Returns the polygons with at least three points; mmdet ignores other polygons."""
    return [polygon for polygon in segmentation if len(polygon) >= 6 and not len(polygon) % 2]


def _lack_points(segmentations: list) -> np.ndarray:
    """Returns a mask of the segmentations that are lists without a polygon of at least three points."""
    lists = [segmentation if type(segmentation) is list else () for segmentation in segmentations]
    counts = np.fromiter(map(len, lists), int, len(lists))
    lengths = np.fromiter(map(len, chain.from_iterable(lists)), int, counts.sum())
    before = np.r_[0, np.cumsum((lengths >= 6) & (lengths % 2 == 0))]  # number of valid polygons before each polygon
    ends = np.cumsum(counts)
    return (before[ends] == before[ends - counts]) & _flags(lambda value: type(value) is list, segmentations)


def _extents(segmentations: list) -> np.ndarray:
    """Returns the bounding box x1, y1, x2, y2 of each segmentation's polygons; NaN if no polygon has three points."""
    polygons = [_polygons(segmentation) if isinstance(segmentation, list) else () for segmentation in segmentations]
    lengths = np.array([sum(map(len, of_one)) // 2 for of_one in polygons])
    flat = chain.from_iterable(chain.from_iterable(polygons))
    points = np.fromiter(flat, float, 2 * int(lengths.sum())).reshape(-1, 2)
    extents = np.full((len(segmentations), 4), np.nan)
    has_any = lengths > 0
    if has_any.any():
        starts = (np.cumsum(lengths) - lengths)[has_any]
        extents[has_any] = np.hstack([np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)])
    return extents


def _matrix(rows: list, columns: int) -> np.ndarray:
    """Returns lists of ``columns`` numbers as a matrix with one row per list."""
    return np.fromiter(chain.from_iterable(rows), float, len(rows) * columns).reshape(-1, columns)


def _column(entries: list[dict], key: str) -> list:
    """Returns the value of a key in each entry, or None where the key is missing."""
    return list(map(methodcaller('get', key), entries))


def _types(values: Iterable) -> set[type]:
    return set(map(type, values))


def _flags(test: Callable[[object], bool], values: list) -> np.ndarray:
    return np.fromiter(map(test, values), bool, len(values))


def _repeated(values: Iterable) -> list:
    return [value for value, count in Counter(values).items() if count > 1]


def _is_size(values: list) -> bool:
    return _are_finite(values) and min(values) > 0


def _is_finite(value: object) -> bool:
    return _are_finite([value])


def _are_finite(values: object) -> bool:
    try:
        return isinstance(values, list) and isfinite(sum(values))
    except (TypeError, OverflowError):
        return False


def _are_boxes(values: list) -> bool:
    return _types(values) == {list} and set(map(len, values)) == {4} and _have_finite_sums(values)


def _are_polygons(values: list) -> bool:
    polygons = list(chain.from_iterable(values))
    return _types(polygons) <= {list} and _have_finite_sums(polygons)


def _have_finite_sums(rows: list[list]) -> bool:
    try:
        return _are_finite(list(map(sum, rows)))
    except (TypeError, OverflowError):
        return False


def _is_segmentation(segmentation: object, size: list[int] | None) -> bool:
    """Returns whether a value is None, a list of polygons, or a run-length encoding with the image's size."""
    if isinstance(segmentation, dict):
        is_of_size = size is None or segmentation.get('size') == size
        return is_of_size and isinstance(segmentation.get('counts'), (list, str))
    return segmentation is None or isinstance(segmentation, list) and all(map(_are_finite, segmentation))


# ---- run lengths


def _wrong_run_lengths(encoded: list[dict]) -> list[dict]:
    """Returns the annotations whose run lengths are invalid or do not add up to the number of pixels of their image.

    pycocotools raises an error if the sum is too large, but returns uninitialized memory if the sum is too small.
    """
    texts = [a for a in encoded if isinstance(a['segmentation']['counts'], str)]
    sums = dict(zip(map(id, texts), sums_of_run_lengths([a['segmentation']['counts'] for a in texts])))
    wrong = []
    for annotation in encoded:
        counts, (height, width) = annotation['segmentation']['counts'], annotation['segmentation']['size']
        if isinstance(counts, list):
            is_right = _are_finite(counts) and min(counts, default=-1) >= 0 and sum(counts) == height * width
        else:
            is_right = sums[id(annotation)] == height * width
        if not is_right:
            wrong.append(annotation)
    return wrong


def sums_of_run_lengths(texts: list[str]) -> np.ndarray:
    """Returns the sum of the run lengths in each COCO-compressed text, or -1 if it is invalid or has a negative run.

    A number consists of digits of five bits, the lowest digit first. Each digit is stored as the character with the
    code ``48 + 32 * more + digit``, where ``more`` is 1 if another digit follows. The highest bit of the last digit is
    the sign. Starting with the fourth, each number is stored as its difference from the number two places before.
    """
    is_text = np.array([bool(text) and text.isascii() for text in texts], dtype=bool)
    filled = [text if right else '0' for text, right in zip(texts, is_text)]
    if not filled:
        return np.zeros(0, dtype=int)
    codes = np.frombuffer(''.join(filled).encode(), dtype=np.uint8).astype(np.int64) - 48
    text_ends = np.cumsum([len(text) for text in filled]) - 1
    text_starts = np.r_[0, text_ends[:-1] + 1]
    in_range = np.logical_and.reduceat((codes >= 0) & (codes < 64), text_starts)
    is_text &= in_range & (codes[text_ends] & 32 == 0)
    is_last = codes & 32 == 0
    is_last[text_ends] = True
    ends = is_last.nonzero()[0]
    starts = np.r_[0, ends[:-1] + 1]
    place = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    numbers = np.add.reduceat((codes & 31) << (5 * place).clip(0, 40), starts)
    digits = (ends - starts + 1).clip(0, 9)
    numbers -= np.where(codes[ends] & 16, 1 << (5 * digits), 0)
    first = np.searchsorted(starts, text_starts)  # index of each text's first number
    several = np.diff(np.r_[first, len(numbers)])
    index = np.arange(len(numbers)) - np.repeat(first, several)
    is_odd = index % 2 == 1
    odd, even = np.where(is_odd, numbers, 0).cumsum(), np.where(is_odd, 0, numbers).cumsum()
    # Subtracting the sums at a text's first number removes all earlier numbers and the first number itself, to which
    # no other number is relative.
    runs = np.where(is_odd, odd - np.repeat(odd[first], several), even - np.repeat(even[first], several))
    runs[first] = numbers[first]
    is_text &= np.minimum.reduceat(runs, first) >= 0
    return np.where(is_text, np.add.reduceat(runs, first), -1)
