"""Reads, completes and checks files in COCO's format."""
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
FIELDS = {  # of all entries, with their types
    'images': dict(id=ID, file_name=str),
    'annotations': dict(id=OPTIONAL_ID, image_id=OPTIONAL_ID, category_id=OPTIONAL_ID),
    'categories': dict(id=ID, name=object),
}
CROWD = 'iscrowd=1, which marks groups that are not to be learned'
MIN_IOU = 0.5  # of a box and the bounding box of its outline
BOX = 'a box is x, y, width, height, not x1, y1, x2, y2'


@contextmanager
def without_collection() -> Iterator[None]:
    """Disables the garbage collector, which would traverse millions of new objects again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            if not gc.get_freeze_count():  # moves the new objects to the oldest generation, which is rarely collected
                gc.freeze()
                gc.unfreeze()
            gc.enable()


@without_collection()
def read_coco(file: str) -> dict:
    """Returns the content of a COCO file. The last two files are cached until :func:`forget_files`.

    Raises:
        UsageError: If it cannot be read, or has another format.
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
        with suppress(ValueError):  # it refuses NaN, and files that are not in UTF-8
            return orjson.loads(Path(file).read_bytes())
    return json.loads(read_text(file))


forget_files = _read_file.cache_clear


def to_text(content: dict) -> str:
    """Returns the text of a COCO file."""
    return orjson.dumps(content).decode() if orjson else json.dumps(content)


# ---- changes


def complete(content: dict) -> list[str]:
    """Completes annotations, and strips the names of categories; returns a line on each kind of change.

    Annotations without them get ``iscrowd=0``, the area of the outline or box, and an id.
    """
    annotations, done = content['annotations'], []
    for key in ('iscrowd', 'area', 'id'):
        if lacking := [a for a in annotations if a.get(key) is None]:
            last = max((a['id'] for a in annotations if isinstance(a.get('id'), int)), default=0)
            for number, annotation in enumerate(lacking, last + 1):
                annotation[key] = dict(iscrowd=0, area=_area(annotation), id=number)[key]
            done.append(f'{key} of {len(lacking)} annotations filled in')
    padded = [c for c in content['categories'] if isinstance(c['name'], str) and c['name'] != c['name'].strip()]
    for category in padded:
        category['name'] = category['name'].strip()
    return [*done, f'the names of {len(padded)} categories stripped'] if padded else done


def _area(annotation: dict) -> float | None:
    """Returns the area of the polygons of an annotation, or else of its box, or None if that is invalid."""
    polygons = annotation.get('segmentation')
    try:
        if polygons and isinstance(polygons, list):
            points = [np.array(polygon, dtype=float).reshape(-1, 2) for polygon in polygons]
            return float(sum(abs(np.dot(p[:, 0], np.roll(p[:, 1], 1)) - np.dot(p[:, 1], np.roll(p[:, 0], 1))) / 2
                             for p in points))
        return float(annotation['bbox'][2] * annotation['bbox'][3])
    except (KeyError, IndexError, TypeError, ValueError):
        return None  # the checks report it


def divide(content: dict, split: Split) -> list[dict]:
    """Splits the content of a COCO file into that for training and that for validation."""
    parts = []
    for images in split.divide(content['images']):
        ids = {image['id'] for image in images}
        annotations = [annotation for annotation in content['annotations'] if annotation.get('image_id') in ids]
        parts.append(dict(content, images=images, annotations=annotations))
    return parts


def reorder(content: dict, classes: tuple[str, ...]) -> dict:
    """Returns the content of a COCO file with the categories ``classes`` in this order; missing ones are added."""
    ids = {category['name']: category['id'] for category in content['categories']}
    used = {annotation.get('category_id') for annotation in content['annotations']}
    refuse_others(classes, {name for name, number in ids.items() if number in used})
    free = max((number for number in (*ids.values(), *used) if isinstance(number, int)), default=0) + 1
    return dict(content, categories=[dict(id=ids.get(name, free + i), name=name) for i, name in enumerate(classes)])


# ---- files of images


def report_images(folders: dict[str, list[dict]]) -> None:
    """Prints the number of images of annotation files, and a warning if their folder has other images.

    Args:
        folders (dict[str, list[dict]]): The contents of the COCO files by the folder of their images.
    """
    for folder, contents in folders.items():
        images = {image['file_name']: image['id'] for content in contents for image in content['images']}
        annotated = {annotation.get('image_id') for content in contents for annotation in content['annotations']}
        empty = sum(number not in annotated for number in images.values())
        found = {osp.join(part, name) for part, names in _files(folder, images).items() for name in names
                 if name.lower().endswith(SUFFIXES) and not is_hidden(name)}
        text = f'{osp.join(folder, "")}: {len(images)} images of the annotation files, {empty} without annotations'
        if others := found - images.keys():
            warn(f'{text}; {len(others)} of {len(found)} images are in no annotation file and left out, e.g. '
                 f'{min(others)}')
        elif is_first_process():
            print(text)


def _files(folder: str, names: Iterable[str]) -> dict[str, set[str]]:
    """Returns the names of the files in a folder, and in the subfolders that occur in ``names``, by subfolder."""
    files: dict[str, set[str]] = {part: set() for part in ['', *map(osp.dirname, names)]}
    for part in files:
        with suppress(OSError), os.scandir(osp.join(folder, part)) as entries:
            files[part] = {entry.name for entry in entries if entry.is_file()}
    return files


def check_sizes(file: str, images: list[dict], folder: str) -> None:
    """Compares the sizes of images with a COCO file; raises UsageError if half are wrong, warns if fewer are."""
    wrong = []
    for image in images:
        path, stated = osp.join(folder, image['file_name']), (image['width'], image['height'])
        if (size := image_size(path)) != stated:
            wrong.append(f'{path} has {size[0]} x {size[1]} pixels, the annotations say {stated[0]} x {stated[1]}')
    check_share(wrong, len(images), f'correct width and height in {file}, and the boxes if they are for other sizes')


# ---- checks


@without_collection()
def coco_mistakes(file: str, content: dict, folder: str, classes: Sequence[str] | None = None,
                  is_evaluated: bool = True, num_outlines: int | None = None) -> list[Mistake]:
    """Returns the mistakes in a COCO file: those that would stop a run or, if there are none, suspicious entries.

    Suspicious entries are an error if they are half of all or more, else a warning.

    Args:
        file (str): Path of the file, for the messages.
        content (dict): Content of the file.
        folder (str): Folder of the images.
        classes (Sequence[str] | None): Classes of the config. Defaults to None: those of the file.
        is_evaluated (bool): Whether pycocotools evaluates the file, which needs ``iscrowd``. Defaults to True.
        num_outlines (int | None): Number of outlines, evenly spaced, that are compared with their boxes. Defaults to
            None: all.
    """
    checks = _Checks(file, content, folder)
    return list(checks.of_entries(classes, is_evaluated)) or [*checks.of_images(), *checks.of_annotations(num_outlines)]


class _Checks:

    def __init__(self, file: str, content: dict, folder: str) -> None:
        self.file, self.content, self.folder = file, content, folder
        self.images, self.annotations = content['images'], content['annotations']
        self.columns = _Columns(self.annotations)

    def mistake(self, text: str, images: Iterable[dict] = (), is_error: bool = True) -> Mistake:
        return Mistake(f'{self.file}: {text}', is_error, tuple(osp.join(self.folder, i['file_name']) for i in images))

    def about(self, wrong: list[dict], text: str, is_error: bool = True) -> Mistake:
        """Returns a mistake in some annotations, with their ids in place of ``{}``."""
        by_id = {image['id']: image for image in self.images}
        images = (by_id.get(a.get('image_id')) for a in wrong)
        return self.mistake(text.format(some([a.get('id') for a in wrong])), filter(None, images), is_error)

    # -- errors

    def of_entries(self, classes: Sequence[str] | None, is_evaluated: bool) -> Iterator[Mistake]:
        for key in FIELDS:
            entries = self.content[key]
            if not entries:
                yield self.mistake(f'{key} is empty')
            ids = self.columns['id'] if key == 'annotations' else _column(entries, 'id')
            if None in ids:
                yield self.mistake(f'all {key} must have an id')
            elif len(set(ids)) < len(ids) and (repeated := _repeated(ids)):
                yield self.mistake(f'ids of {key} must be unique, {some(repeated)} are not')
        try:
            check_class_names([category['name'] for category in self.content['categories']], self.file)
        except UsageError as error:
            yield Mistake(str(error), True)
        yield from self._of_files()
        yield from self._of_values(is_evaluated)
        yield from self._of_categories(classes)

    def _of_files(self) -> Iterator[Mistake]:
        files = _files(self.folder, (image['file_name'] for image in self.images))
        if missing := [image['file_name'] for image in self.images
                       if osp.basename(image['file_name']) not in files[osp.dirname(image['file_name'])]]:
            yield self.mistake(f'images {some(missing)} are not in {self.folder}')

    def _of_values(self, is_evaluated: bool) -> Iterator[Mistake]:
        sizes = {image['id']: [image.get('height'), image.get('width')] for image in self.images}
        if unsized := [image for image in self.images if not _is_size(sizes[image['id']])]:
            ids = some([image['id'] for image in unsized])
            yield self.mistake(f'width and height of images {ids} must be given in pixels', unsized)
        # A fast test of all values, a slow one that finds the wrong annotations, and what is allowed.
        rules: dict[str, tuple[Callable[[list], bool], Callable[[dict], bool], str]] = {
            'image_id': (lambda values: all(map(sizes.__contains__, values)), lambda a: a.get('image_id') in sizes,
                         'the id of a listed image'),
            'category_id': (lambda values: None not in values, lambda a: a.get('category_id') is not None, 'given'),
            'bbox': (_are_boxes, lambda a: _are_finite(a.get('bbox')) and len(a['bbox']) == 4, 'four finite numbers'),
            'area': (_are_finite, lambda a: _is_finite(a.get('area')), 'a finite number, such as width * height'),
            'iscrowd': (lambda values: _types(values) <= {int, bool} and set(values) <= {0, 1},
                        lambda a: a.get('iscrowd', None if is_evaluated else 0) in (0, 1),
                        '0 or 1, which pycocotools needs'),
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
        """Returns whether each value is a list of polygons, a run-length encoding of its image's size, or None."""
        polygons = [value for value in values if type(value) is list]
        others = (a for a, value in zip(self.annotations, values) if type(value) is not list)
        return _are_polygons(polygons) and all(
            _is_segmentation(a.get('segmentation'), sizes.get(a.get('image_id'))) for a in others)

    def _of_categories(self, classes: Sequence[str] | None) -> Iterator[Mistake]:
        names = {category['id']: category['name'] for category in self.content['categories']}
        used = set(self.columns['category_id'])
        for shift in (1, -1):
            are_numbers = all(isinstance(number, int) for number in used)
            if are_numbers and not used <= names.keys() and {number + shift for number in used} <= names.keys():
                yield self.mistake(f'category_id of the annotations are {some(sorted(used))}, and the ids of the '
                                   f'categories {some(list(names))}: they are shifted by one')
        if classes and tuple(name for name in names.values() if name in classes) != tuple(classes):
            yield self.mistake(f'mmdet numbers categories in their order in the file, {some(list(names.values()))}, '
                               f'and the config has the classes {some(list(classes))}; --coco-folder matches them by '
                               'name')

    # -- suspicious entries

    def of_images(self) -> Iterator[Mistake]:
        names = Counter(image['file_name'] for image in self.images)
        if repeated := [image for image in self.images if names[image['file_name']] > 1]:
            surplus = len(self.images) - len(names)
            yield self.mistake(f'{surplus} of {len(self.images)} images have the same file as another one, e.g. '
                               f'{repeated[0]["file_name"]}', repeated, is_half(surplus, len(self.images)))

    def of_annotations(self, num_outlines: int | None) -> Iterator[Mistake]:
        total = len(self.annotations)
        table = _Table(self.content, self.columns, every=-(-total // (num_outlines or total)))
        compared = int(table.is_compared.sum())
        cases = {f'mmdet leaves out {{}}: {reason}': (mask, total) for reason, mask in table.reasons_left_out().items()}
        # Many crowds may be intended. It is an error if all annotations are crowds: there is nothing to learn.
        crowds = next((text for text in cases if text.endswith(CROWD)))
        is_all_crowd = bool(cases[crowds][0].all())
        cases[f'boxes of {{}}, are x1, y1, x2, y2 by their ends or areas; {BOX}'] = table.has_corners, total
        cases[f'outlines of {{}}, do not match their boxes; {table.why_apart()}'] = table.is_apart, compared
        # If no kind of mistake alone affects half of the annotations, all together may.
        others = {text: case for text, case in cases.items() if text != crowds}
        is_any_half = any(is_half(int(mask.sum()), number) for mask, number in others.values())
        together = np.logical_or.reduce([mask[table.is_compared] for mask, _ in others.values()])
        are_half = not is_any_half and is_half(int(together.sum()), compared)
        for text, (mask, number) in cases.items():
            if wrong := [self.annotations[i] for i in mask.nonzero()[0]]:
                yield self.about(wrong, text.format(f'{len(wrong)} of {number} annotations, {{}}'),
                                 is_all_crowd if text == crowds else are_half or is_half(len(wrong), number))
        if beyond := [self.annotations[i] for i in (table.is_beyond & ~table.has_corners).nonzero()[0]]:
            yield self.about(beyond, f'boxes of {len(beyond)} of {total} annotations, {{}}, end outside their images; '
                             f'{BOX}', is_error=False)
        used = set(self.columns['category_id'])
        if unused := [c['name'] for c in self.content['categories'] if c['id'] not in used]:
            yield self.mistake(f'categories without annotations: {some(unused)}', is_error=False)


class _Columns(dict):
    """The values of all entries by key, collected once per key, because iterating over the entries is slow."""

    def __init__(self, entries: list[dict]) -> None:
        self.entries = entries

    def __missing__(self, key: str) -> list:
        self[key] = _column(self.entries, key)
        return self[key]


class _Table:
    """The annotations of a valid file as arrays with one row each; compares one of ``every`` outlines with its box."""

    def __init__(self, content: dict, columns: '_Columns', every: int) -> None:
        total = len(content['annotations'])
        places = {image['id']: place for place, image in enumerate(content['images'])}
        sizes = _matrix([(image['width'], image['height']) for image in content['images']], 2)
        categories = {category['id'] for category in content['categories']}
        outlines = columns['segmentation']
        self.boxes = _matrix(columns['bbox'], 4)  # x, y, width, height
        self.sizes = sizes[np.fromiter(map(places.get, columns['image_id']), int, total)]  # width, height
        self.areas = np.fromiter(columns['area'], float, total)
        self.is_crowd = _flags(bool, columns['iscrowd'])
        self.is_known = _flags(categories.__contains__, columns['category_id'])
        self.is_compared = np.arange(total) % every == 0
        self.has_outline = _flags(bool, outlines)
        self.lacks_points = _lack_points(outlines)
        self.extents = np.full((total, 4), np.nan)  # x1, y1, x2, y2
        self.extents[::every] = _extents(outlines[::every])
        self.corners = np.hstack([self.boxes[:, :2], self.boxes[:, :2] + self.boxes[:, 2:]])
        low, high = self.corners[:, :2], self.corners[:, 2:]
        is_visible = (np.minimum(high, self.sizes) > np.maximum(low, 0)).all(1)
        self.is_outside = ~is_visible
        self.is_beyond = (high > self.sizes + 2).any(1)
        self.has_corners = self._has_corners()
        self.is_apart = _iou(self.corners, self.extents) < MIN_IOU  # False if there is no extent: NaN
        left_out = np.logical_or.reduce(list(self.reasons_left_out().values()))
        for mask in (self.is_beyond, self.has_corners, self.is_apart):
            mask &= ~left_out

    def reasons_left_out(self) -> dict[str, np.ndarray]:
        """Returns masks of the annotations that mmdet leaves out, by the reason; one reason per annotation."""
        width, height = self.boxes[:, 2:].T
        cases = {
            'category_id of no listed category': ~self.is_known,
            'negative width or height; a box is x, y of the upper left corner, width, height':
                (width < 0) | (height < 0),
            'coordinates from 0 to 1; multiply those of x by the width of the image, of y by its height':
                (self.corners.max(1) <= 1.01) & (self.sizes.min(1) > 1.01),
            'no area, or a side below one pixel': (self.areas <= 0) | (width < 1) | (height < 1),
            'box outside its image; check width and height of the image': self.is_outside,
            'no polygon with three points': self.has_outline & self.lacks_points,
            CROWD: self.is_crowd,
        }
        free = np.ones(len(self.boxes), dtype=bool)
        for reason, mask in cases.items():
            cases[reason] = mask & free
            free &= ~mask
        return cases

    def _has_corners(self) -> np.ndarray:
        """Returns a mask of the boxes that are probably x1, y1, x2, y2.

        As x, y, width, height they end outside the image, or do not have the stated area, while as corners they do. The
        area says nothing if there is an outline, because it is the outline's.
        """
        x, y, width, height = self.boxes.T
        between = (width - x) * (height - y)
        is_of_area = (abs(between - self.areas) <= 0.01 * self.areas) & (width * height > 1.05 * self.areas)
        return (width > x) & (height > y) & (self.is_beyond | is_of_area & ~self.has_outline)

    def why_apart(self) -> str:
        """Returns the likely reason why outlines do not match their boxes."""
        extents, boxes, sizes = (values[self.is_apart] for values in (self.extents, self.boxes, self.sizes))
        if 2 * (_iou(boxes, extents) >= MIN_IOU).sum() >= len(boxes):
            return BOX
        if 2 * (extents.max(1) <= 1.01).sum() >= len(boxes):
            return 'they have values from 0 to 1; multiply those of x by the width of the image, of y by its height'
        return 'boxes and outlines may be for different sizes of the images'


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the IoU of the rows of two arrays (N, 4) of boxes x1, y1, x2, y2; NaN if one is NaN."""
    inter = (np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])).clip(0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - inter
    return inter / np.where(union > 0, union, 1)


def _polygons(outline: list) -> list[list[float]]:
    """Returns the polygons with at least three points, which mmdet requires."""
    return [polygon for polygon in outline if len(polygon) >= 6 and not len(polygon) % 2]


def _lack_points(outlines: list) -> np.ndarray:
    """Returns a mask of the outlines that are lists without a polygon of at least three points."""
    lists = [outline if type(outline) is list else () for outline in outlines]
    counts = np.fromiter(map(len, lists), int, len(lists))
    lengths = np.fromiter(map(len, chain.from_iterable(lists)), int, counts.sum())
    before = np.r_[0, np.cumsum((lengths >= 6) & (lengths % 2 == 0))]  # number of such polygons before each polygon
    ends = np.cumsum(counts)
    return (before[ends] == before[ends - counts]) & _flags(lambda outline: type(outline) is list, outlines)


def _extents(outlines: list) -> np.ndarray:
    """Returns the bounding box x1, y1, x2, y2 of each outline's polygons; NaN if none has three points."""
    polygons = [_polygons(outline) if isinstance(outline, list) else () for outline in outlines]
    lengths = np.array([sum(map(len, of_one)) // 2 for of_one in polygons])
    flat = chain.from_iterable(chain.from_iterable(polygons))
    points = np.fromiter(flat, float, 2 * int(lengths.sum())).reshape(-1, 2)
    extents = np.full((len(outlines), 4), np.nan)
    has_any = lengths > 0
    if has_any.any():
        starts = (np.cumsum(lengths) - lengths)[has_any]
        extents[has_any] = np.hstack([np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)])
    return extents


def _matrix(rows: list, columns: int) -> np.ndarray:
    """Returns lists of numbers as a matrix."""
    return np.fromiter(chain.from_iterable(rows), float, len(rows) * columns).reshape(-1, columns)


def _column(entries: list[dict], key: str) -> list:
    """Returns the value of a key in each entry, None where it is missing."""
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
    """Returns whether a value is a list of polygons, a run-length encoding of the image's size, or None."""
    if isinstance(segmentation, dict):
        is_of_size = size is None or segmentation.get('size') == size
        return is_of_size and isinstance(segmentation.get('counts'), (list, str))
    return segmentation is None or isinstance(segmentation, list) and all(map(_are_finite, segmentation))


# ---- run lengths


def _wrong_run_lengths(encoded: list[dict]) -> list[dict]:
    """Returns the annotations whose run lengths do not cover their image: pycocotools would read beyond it, or hang."""
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
    """Returns the sum of each of COCO's compressed run lengths, -1 for invalid ones.

    A number is a sequence of characters ``48 + 32 * more + digit`` with digits of five bits, the lowest first. ``more``
    is 1 if another digit follows; the highest bit of the last digit is the sign. From the fourth number on, numbers are
    differences to the second one before.
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
    # A difference counts for its number and every second one after it; no number is relative to the first.
    weight = np.where(index == 0, 1, (np.repeat(several, several) - 1 - index) // 2 + 1)
    return np.where(is_text, np.add.reduceat(numbers * weight, first), -1)
