"""Reads a COCO file once, into its entries and columns of their values, on which the rules are applied."""
import json
import os.path as osp
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from typing import Any

import numpy as np

from mmvit_backbones.errors import UsageError, first_line
from mmvit_backbones.utils.file_access import read_bytes

from ..utils.distributed import is_first_process, warn
from ..utils.shell import short_path
from .class_lists import is_name
from .images import images_in
from .rasters import Raster
from .segmentations import are_numbers, is_given, mask_box

REQUIRED = dict(images=('id', 'file_name'), annotations=('image_id', 'category_id'), categories=('id', 'name'))


@dataclass
class Coco:
    """The content of a COCO file, as it is used by a data set; in columns, NaN stands for missing or invalid values.

    Args:
        file (str): Path of the file.
        content (dict): Its content, which repairs change.
        folder (str): Folder of the images.
        encoding (str): Encoding of the file. Defaults to 'utf-8', the only one that mmdet reads.
        classes (Sequence[str] | None): Classes that the categories must have in this order. Defaults to None: any.
        ids (Sequence[int]): Category ids of the classes in the file of the training. Defaults to 1, 2, ...
        needs_masks (bool): Whether the masks of objects are used. Defaults to False.
        is_evaluated (bool): Whether the file is used for evaluation. Defaults to True.
    """

    file: str
    content: dict
    folder: str
    encoding: str = 'utf-8'
    classes: Sequence[str] | None = None
    ids: Sequence[int] = ()
    needs_masks: bool = False
    is_evaluated: bool = True

    @classmethod
    def read(cls, file: str, folder: str) -> 'Coco':
        """Reads a file.

        Raises:
            UsageError: If the file cannot be read or is not in COCO format.
        """
        data = read_bytes(file)
        try:
            content = json.loads(data)
            for key, fields in REQUIRED.items():
                for entry, name in product(content[key], fields):
                    _check_value(key, name, entry)
            if empty := [key for key in REQUIRED if not content[key]]:  # mmdet trains on nothing
                raise ValueError(f'{empty[0]} is empty')
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError(f'{file} is not in COCO format: {first_line(error)}') from error
        return cls(file, content, folder, json.detect_encoding(data))

    # ---- entries

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
    def used_names(self) -> set[str]:
        """Returns the names of the categories that have annotations."""
        used = {str(annotation['category_id']) for annotation in self.annotations}
        return {category['name'] for category in self.categories if str(category['id']) in used}

    # ---- columns, a row for each annotation

    @cached_property
    def image_of(self) -> dict[Any, dict]:
        return {image['id']: image for image in self.images}

    @cached_property
    def sizes(self) -> np.ndarray:
        """Returns the width and height of the image."""
        images = [self.image_of.get(annotation['image_id'], {}) for annotation in self.annotations]
        return _rows([stated_size(image) or [np.nan] * 2 for image in images], 2)

    @cached_property
    def boxes(self) -> np.ndarray:
        """Returns x, y, width and height of the boxes."""
        return _rows([box if is_box(box := annotation.get('bbox')) else [np.nan] * 4
                      for annotation in self.annotations], 4)

    @cached_property
    def corners(self) -> np.ndarray:
        """Returns x1, y1, x2, y2 of the boxes."""
        return np.hstack([self.boxes[:, :2], self.boxes[:, :2] + self.boxes[:, 2:]])

    @property
    def areas(self) -> np.ndarray:
        return np.array([area if are_numbers([area := annotation.get('area')]) else np.nan
                         for annotation in self.annotations], dtype=float)

    @cached_property
    def masks(self) -> list[tuple[list[float], str]]:
        """Returns the bounding box x1, y1, x2, y2 of the mask, or why the mask cannot be used."""
        masks = []
        for annotation, (width, height) in zip(self.annotations, self.sizes):
            box, reason = [np.nan] * 4, ''
            if width % 1 == height % 1 == 0:  # other sizes are reported elsewhere
                try:
                    box = mask_box(annotation.get('segmentation'), int(height), int(width))
                except ValueError as error:
                    reason = str(error)
            masks.append((box, reason))
        return masks

    @property
    def mask_boxes(self) -> np.ndarray:
        return _rows([box for box, _ in self.masks], 4)

    @property
    def gives_masks(self) -> bool:
        """Returns whether an object has a mask, be it usable or not."""
        return any(is_given(annotation.get('segmentation')) for annotation in self.annotations
                   if not annotation.get('iscrowd'))

    # ---- files of the images

    def path(self, image: dict) -> str:
        return osp.join(self.folder, image['file_name'])

    def rasters(self, images: Iterable[dict]) -> list[Raster]:
        """Returns those of some images that exist, with the sizes that the file states."""
        return [Raster(path, stated_size(image)) for image in images if osp.isfile(path := self.path(image))]


def _check_value(key: str, name: str, entry: dict) -> None:
    """Raises TypeError if a required field of an entry is missing, or has another type than those of ids or names."""
    value = entry.get(name)
    if name == 'file_name' and (not isinstance(value, str) or '\0' in value) or name == 'name' and not is_name(value):
        raise TypeError(f'{name} of {key} must be text in a line, got {value!r:.80}')
    if (key, name) == ('categories', 'id') and type(value) is not int:  # evaluation by class fails if some are text
        raise TypeError(f'{name} of {key} must be an integer, got {value!r:.80}')
    if not isinstance(value, (int, str)) and not (isinstance(value, float) and value.is_integer()):
        raise TypeError(f'{name} of {key} must be an integer or text, got {value!r:.80}')


def report_images(coco: Coco) -> None:
    """Prints how many images a COCO file lists, and warns if their folder has images that are not listed."""
    real = cache(osp.realpath)

    def place(path: str) -> str:
        """Returns a path that is absolute and without links in the folders' names."""
        return osp.join(real(osp.dirname(path)), osp.basename(path))

    listed = {place(coco.path(image)) for image in coco.images}
    found = images_in(coco.folder)
    left = [name for name in found if place(osp.join(coco.folder, name)) not in listed]
    text = f'{osp.join(short_path(coco.folder), "")}: {len(listed)} images in the annotation file'
    if left:
        warn(f'{text}; {len(left)} of {len(found)} images are not in it and are left out, e.g. {left[0]}')
    elif is_first_process():
        print(text)


def stated_size(image: dict) -> tuple[float, float] | None:
    """Returns width and height of an image, or None if they are no positive numbers."""
    size: Any = [image.get('width'), image.get('height')]
    return tuple(size) if are_numbers(size) and min(size) > 0 else None


def is_box(value: Any) -> bool:
    return are_numbers(value) and len(value) == 4


def _rows(values: list, columns: int) -> np.ndarray:
    return np.array(values, dtype=float).reshape(-1, columns)
