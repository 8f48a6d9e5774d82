"""Reads a COCO file once, into its entries and columns of their values, on which the rules are applied."""
import json
import os.path as osp
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mmvit_backbones.errors import UsageError, first_line
from mmvit_backbones.utils.file_access import decode_text, read_bytes

from ..utils.distributed import is_first_process, warn
from ..utils.images import SUFFIXES, is_hidden
from ..utils.shell import short_path
from .class_lists import BYTE_ORDER_MARK
from .folders import composed
from .rasters import Raster
from .segmentations import Usable, are_numbers, is_given, usable_segmentation

REQUIRED = dict(images=('id', 'file_name'), annotations=(), categories=('id', 'name'))
IDS = 'id', 'image_id', 'category_id'
MAX_ID = 2**53  # pycocotools stores ids as float64


class Coco:
    """The content of a COCO file, as it is used by a data set; in columns, NaN stands for missing or invalid values.

    Args:
        file (str): Path of the file.
        content (dict): Its content, which repairs change.
        folder (str): Folder of the images.
        classes (Sequence[str] | None): Classes that the categories must have in this order. Defaults to None: any.
        needs_masks (bool): Whether the masks of objects are used. Defaults to False.
        is_evaluated (bool): Whether the file is used for evaluation. Defaults to True.
        by_class (bool): Whether the evaluation has figures of each class. Defaults to True.
        has_mark (bool): Whether the file starts with a byte order mark. Defaults to False.
    """

    def __init__(self, file: str, content: dict, folder: str, classes: Sequence[str] | None = None,
                 needs_masks: bool = False, is_evaluated: bool = True, by_class: bool = True,
                 has_mark: bool = False) -> None:
        self.file, self.content, self.folder, self.classes = file, content, folder, classes
        self.needs_masks, self.is_evaluated, self.by_class = needs_masks, is_evaluated, by_class
        self.has_mark = has_mark

    @classmethod
    def read(cls, file: str, folder: str, **use) -> 'Coco':
        """Reads a file.

        Raises:
            UsageError: If the file cannot be read or is not in COCO format.
        """
        data = read_bytes(file)
        try:
            content = json.loads(decode_text(data, file))
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
        return cls(file, content, folder, has_mark=data.startswith(BYTE_ORDER_MARK), **use)

    # ---- entries

    @property
    def lists(self) -> list[str]:
        return list(REQUIRED)

    @property
    def images(self) -> list[dict]:
        return self.content['images']

    @property
    def annotations(self) -> list[dict]:
        return self.content['annotations']

    @property
    def categories(self) -> list[dict]:
        return self.content['categories']

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(category['name'] for category in self.categories)

    @property
    def objects(self) -> list[int]:
        """Returns the positions of the annotations that are no crowds."""
        return [i for i, annotation in enumerate(self.annotations) if not annotation.get('iscrowd')]

    @property
    def used_names(self) -> set[str]:
        """Returns the names of the categories that have annotations."""
        used = {annotation.get('category_id') for annotation in self.annotations}
        return {name for category in self.categories if isinstance(name := category['name'], str)
                and category['id'] in used}

    # ---- columns, a row for each annotation

    @cached_property
    def image_of(self) -> dict[Any, dict]:
        return {image['id']: image for image in self.images}

    @cached_property
    def sizes(self) -> np.ndarray:
        """Returns the width and height of the image."""
        valid = {number: size if is_size(size) else [np.nan] * 2 for number, size in (
            (image['id'], [image.get('width'), image.get('height')]) for image in self.images)}
        return _rows([valid.get(annotation.get('image_id'), [np.nan] * 2) for annotation in self.annotations], 2)

    @cached_property
    def boxes(self) -> np.ndarray:
        """Returns x, y, width and height of the boxes."""
        return _rows([box if is_box(box := annotation.get('bbox')) else [np.nan] * 4
                      for annotation in self.annotations], 4)

    @property
    def areas(self) -> np.ndarray:
        return np.array([area if are_numbers([area := annotation.get('area')]) else np.nan
                         for annotation in self.annotations], dtype=float)

    @cached_property
    def has_size(self) -> np.ndarray:
        """Returns whether width and height of the image are known in whole pixels."""
        return ((self.sizes > 0) & (self.sizes % 1 == 0)).all(1)

    @cached_property
    def masks(self) -> list[Usable]:
        """Returns the parts of the masks that can be used."""
        return [usable_segmentation(annotation.get('segmentation'), int(height), int(width)) if is_known
                else Usable(None, [])
                for annotation, (width, height), is_known in zip(
                    self.annotations, np.nan_to_num(self.sizes), self.has_size)]

    @cached_property
    def extents(self) -> np.ndarray:
        """Returns the bounding box x1, y1, x2, y2 of polygons; NaN for run lengths and without polygons."""
        return _rows([_extent(mask.usable) for mask in self.masks], 4)

    @cached_property
    def has_known_category(self) -> np.ndarray:
        known = {category['id'] for category in self.categories}
        return np.array([annotation.get('category_id') in known for annotation in self.annotations], dtype=bool)

    @property
    def is_left_out(self) -> Any:
        """Returns whether mmdet's data sets leave out an annotation of the training."""
        return (self.is_outside | (self.areas <= 0) | (self.boxes[:, 2:] < 1).any(1) | ~self.has_known_category
                | np.array([bool(annotation.get('ignore')) for annotation in self.annotations], dtype=bool))

    @property
    def is_outside(self) -> Any:
        """Returns whether a box has nothing in common with its image."""
        return (np.minimum(self.corners[:, 2:], self.sizes) <= np.maximum(self.corners[:, :2], 0)).any(1)

    @cached_property
    def corners(self) -> np.ndarray:
        """Returns x1, y1, x2, y2 of the boxes."""
        return np.hstack([self.boxes[:, :2], self.boxes[:, :2] + self.boxes[:, 2:]])

    @property
    def gives_masks(self) -> bool:
        """Returns whether an object has a mask, be it usable or not."""
        return any(is_given(self.annotations[i].get('segmentation')) for i in self.objects)

    # ---- files of the images

    def place(self, name: str) -> str:
        """Returns the path of an image file, absolute and without links in the folders' names."""
        return osp.join(self._folders[osp.dirname(name)], osp.basename(name))

    @cached_property
    def _folders(self) -> dict[str, str]:
        """Returns the folders of the images, by their names in ``file_name``."""
        names = {'', *(osp.dirname(image['file_name']) for image in self.images)}
        return {name: '' if '\0' in name else osp.realpath(osp.join(self.folder, name)) for name in names}

    @cached_property
    def files(self) -> set[str]:
        """Returns the paths of the files in the folders of the images."""
        return {osp.join(folder, path.name) for folder in set(self._folders.values()) if folder and osp.isdir(folder)
                for path in Path(folder).iterdir() if path.is_file()}

    @cached_property
    def composed_files(self) -> dict[str, str]:
        """Returns the paths of all files below the folder, by their names in the Unicode form NFC."""
        paths = (str(path.relative_to(self.folder)) for path in Path(self.folder).rglob('*') if path.is_file())
        return {composed(path): path for path in paths}

    def rasters(self, images: Iterable[dict]) -> list[Raster]:
        """Returns those of some images that exist, with the sizes that the file states."""
        by_runs = {annotation.get('image_id') for annotation in self.annotations
                   if self.needs_masks and isinstance(annotation.get('segmentation'), dict)}
        return [Raster(osp.join(self.folder, image['file_name']),
                        (image['width'], image['height']) if is_size([image.get('width'), image.get('height')])
                        else None, has_run_lengths=image['id'] in by_runs)
                for image in images if self.place(image['file_name']) in self.files]


def report_images(files: Iterable[Coco]) -> None:
    """Prints how many images the COCO files list, and warns if their folders have images that are not listed."""
    folders: dict[str, list[Coco]] = {}
    for coco in files:
        folders.setdefault(osp.realpath(coco.folder), []).append(coco)
    for root, group in folders.items():
        listed = {coco.place(image['file_name']) for coco in group for image in coco.images}
        annotated = {coco.place(coco.image_of[annotation['image_id']]['file_name']) for coco in group
                     for annotation in coco.annotations if annotation.get('image_id') in coco.image_of}
        found = {path for coco in group for path in coco.files if path.lower().endswith(SUFFIXES)
                 and not is_hidden(path) and path.startswith(osp.join(root, ''))}
        text = f'{osp.join(short_path(group[0].folder), "")}: {len(listed)} images in the annotation files'
        if empty := len(listed - annotated):
            text += f', {empty} without annotations'
        if others := found - listed:
            warn(f'{text}; {len(others)} of {len(found)} images are not in the annotation files and are left out, e.g. '
                 f'{osp.relpath(min(others), root)}')
        elif is_first_process():
            print(text)


def is_id(value: object) -> bool:
    """Returns whether pycocotools can use a value as the id of an annotation; it takes 0 for not found."""
    return type(value) is int and 0 < value <= MAX_ID


def is_size(value: Any) -> bool:
    """Returns whether a list has width and height of an image."""
    return are_numbers(value) and min(value) > 0


def is_box(value: Any) -> bool:
    return are_numbers(value) and len(value) == 4


def _rows(values: list, columns: int) -> np.ndarray:
    return np.array(values, dtype=float).reshape(-1, columns)


def _extent(mask: object) -> list[float]:
    if not isinstance(mask, list):
        return [np.nan] * 4
    x, y = [value for polygon in mask for value in polygon[::2]], [value for polygon in mask for value in polygon[1::2]]
    return [min(x), min(y), max(x), max(y)]
