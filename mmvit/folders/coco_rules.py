"""Rules for COCO files.

The comment above a rule names a public report, or says what mmdet 3.3 (training) and pycocotools (evaluation) did
without it; an exception that is called bare names neither the file nor the annotation. Repairs are those of faults that
exporters write every day, and that cannot be wrong.
"""
import os.path as osp
from collections import Counter
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import numpy as np

from .class_lists import DIFFERENT, repeated_names
from .coco import Coco, is_box, stated_size
from .rules import ADD_SOME, HALF, RARELY, Problem, Rule, apply, each, rare, suspicion
from .segmentations import are_numbers

SCALE = 'multiply x by the width of the image and y by its height'
THEM = '{count} of {total} annotations (ids {ids})'
MIN_IOU = 0.5  # of a box and the bounding box of its mask


def coco_problems(coco: Coco, repairs: list[str] | None = None) -> list[Problem]:
    """Returns the problems of a COCO file; with ``repairs``, after repairing what can be repaired, which is added."""
    return apply(COCO_RULES, coco, coco.is_evaluated, repairs, place=coco.file)


def column(is_wrong: Callable[[Coco], Any]) -> Callable[[Coco], list[int]]:
    """Returns a function that finds the annotations for which a column is true."""
    return lambda coco: np.flatnonzero(is_wrong(coco)).tolist()


def repeated(of: str, field: str = 'id') -> Callable[[Coco], list[int]]:
    """Returns a function that finds the entries of a list that have no value, or that of an earlier one."""
    def find(coco: Coco) -> list[int]:
        known: set = set()
        values = [entry.get(field) for entry in getattr(coco, of)]
        return [i for i, value in enumerate(values) if value is None or str(value) in known or known.add(str(value))]
    return find


def left_out(reason: str, is_wrong: Callable[[Coco], Any], error_from: float = HALF) -> Rule:
    """Returns a rule for annotations that mmdet drops in the training, where their objects are background."""
    name, _, _ = reason.partition(';')
    return suspicion(name, 'annotations', column(is_wrong), f'mmdet leaves out {THEM}: {reason}', error_from)


# ---- images and categories


def _in_another_order(coco: Coco) -> list[int]:
    wanted = tuple(coco.classes or ())
    named = tuple(name for name in coco.names if name in wanted)
    return list(range(len(coco.categories))) if named != wanted else []


def _not_ascending(coco: Coco) -> list[int]:
    """Returns the positions of the categories that are classes, if their ids do not ascend."""
    found = [i for i, name in enumerate(coco.names) if coco.classes is None or name in coco.classes]
    ids = [coco.categories[i]['id'] for i in found]
    return found if ids != sorted(ids) else []


def _unused(coco: Coco) -> list[int]:
    """Returns the positions of the categories that are classes and have no objects."""
    missing = set(coco.classes or coco.names) - coco.used_names
    return [i for i, name in enumerate(coco.names) if name in missing]


def _order_categories(coco: Coco, _: list[int]) -> None:
    """Gives the categories the order and ids of the classes; annotations keep the names of theirs.

    Without classes of a training, the order is that of the ids.
    """
    names = {category['id']: category['name'] for category in coco.categories}
    numbers = {name: number for number, name in names.items()}
    if coco.classes is not None:
        numbers = dict(zip(coco.classes, coco.ids or range(1, len(coco.classes) + 1)))
    coco.content = dict(coco.content, categories=[
        dict(id=number, name=name) for name, number in sorted(numbers.items(), key=itemgetter(1))])
    for annotation in coco.annotations:
        annotation['category_id'] = numbers.get(names.get(annotation['category_id'], ''), -1)


# ---- annotations


def _set(field: str, value: Callable[[dict], Any]) -> Callable[[Coco, list[int]], None]:
    """Returns a repair that sets a field of the annotations that were found."""
    def repair(coco: Coco, found: list[int]) -> None:
        for i in found:
            coco.annotations[i][field] = value(coco.annotations[i])
    return repair


def _area_of_box(annotation: dict) -> float | None:
    return annotation['bbox'][2] * annotation['bbox'][3] if is_box(annotation.get('bbox')) else None


def _has_too_small_area(coco: Coco) -> Any:
    """Returns for each annotation whether its area is 0 or less, or below a pixel, though its box has more."""
    sides = coco.boxes[:, 2:]
    return (coco.areas <= 0) & (sides > 0).all(1) | (coco.areas <= 1) & (sides >= 2).all(1)


def _number_annotations(coco: Coco, found: list[int]) -> None:
    """Gives the annotations that were found the next free integers as ids."""
    wrong = set(found)
    free = max((annotation['id'] for i, annotation in enumerate(coco.annotations)
                if i not in wrong and _is_id(annotation['id'])), default=0)
    for number, i in enumerate(found, free + 1):
        coco.annotations[i]['id'] = number


def _is_id(value: object) -> bool:
    """Returns whether pycocotools, which stores ids as float64, can use a value as the id of an annotation."""
    return type(value) is int and 0 < value < 2**53


def _unusable_masks(coco: Coco) -> list[int]:
    return [i for i, (_, reason) in enumerate(coco.masks) if reason] if coco.needs_masks else []


def _reason(coco: Coco, i: int) -> str:
    return f'annotation {coco.annotations[i].get("id")!r:.40}: {coco.masks[i][1]}'


def _has_unknown_category(coco: Coco) -> list[bool]:
    known = {category['id'] for category in coco.categories}
    return [annotation['category_id'] not in known for annotation in coco.annotations]


def _repeated_boxes(coco: Coco) -> list[int]:
    """Returns the positions of annotations with the image, category and box (to 0.1 pixels) of an earlier one."""
    known: set = set()
    values = [(annotation['image_id'], annotation['category_id'], bool(annotation.get('iscrowd')), *box)
              for annotation, box in zip(coco.annotations, coco.boxes.round(1).tolist())]
    return [i for i, value in enumerate(values) if value in known or known.add(value)]


def _iou_of_part_inside(coco: Coco) -> np.ndarray:
    return _iou(coco.corners, coco.corners.clip(0, np.tile(coco.sizes, 2)))


def _is_beyond(points: np.ndarray, sizes: np.ndarray) -> Any:
    return (points > sizes + 2).any(1)


def _is_apart(coco: Coco) -> Any:
    return _iou(coco.corners, coco.mask_boxes) < MIN_IOU


def _is_corners(coco: Coco) -> Any:
    fits = _iou(coco.boxes, coco.mask_boxes) >= MIN_IOU
    return (coco.boxes[:, 2:] > coco.boxes[:, :2]).all(1) & (
        _is_beyond(coco.corners[:, 2:], coco.sizes) & ~_is_beyond(coco.boxes[:, 2:], coco.sizes)
        & np.isnan(coco.mask_boxes[:, 0]) | _is_apart(coco) & fits)


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the IoU of corresponding boxes x1, y1, x2, y2 in two arrays (N, 4); NaN if a box has NaN."""
    inter = (np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])).clip(0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - inter
    return inter / np.where(union > 0, union, 1)


def _rare(coco: Coco) -> list[int]:
    """Returns the positions of the categories that are classes and rare."""
    names = {category['id']: category['name'] for category in coco.categories}
    pairs = [(names.get(annotation['category_id']), annotation['image_id']) for annotation in coco.annotations]
    images, objects = (Counter(name for name, _ in found if name in (coco.classes or coco.names))
                       for found in (set(pairs), pairs))
    return rare(images, objects, coco.names)


WITHOUT_OBJECTS = suspicion('categories without objects', 'categories', _unused,
                            'there are no objects of the categories {ids}', None, shown='name')
COCO_RULES = [
    # a bare JSONDecodeError
    Rule('a byte order mark, or another encoding than UTF-8', 'images',
         lambda coco: [0] if coco.encoding != 'utf-8' else [],
         'mmdet does not read its encoding, {detail}; save it as UTF-8 without a byte order mark',
         repair=lambda coco, found: setattr(coco, 'encoding', 'utf-8'), detail=lambda coco, i: coco.encoding),
    # obss/sahi#98, cvat-ai/cvat#4185: the objects of an image, or of a category, are dropped or go to the other one
    *(Rule(f'repeated ids of {key}', key, repeated(key), f'ids of {key} must be unique, got duplicates of {{ids}}')
      for key in ('images', 'categories')),
    # objects of one of the two get the label of another class
    Rule('repeated names of categories, also in another Unicode form', 'categories',
         lambda coco: repeated_names(coco.names), f'{DIFFERENT}, got {{ids}} again', shown='name'),
    # zylo117/Yet-Another-EfficientDet-Pytorch#60; evaluation: a bare AssertionError
    Rule('ids of images that are partly text', 'images',
         lambda coco: range(len({isinstance(image['id'], str) for image in coco.images}) - 1),
         'ids of images must be all numbers or all text, got both'),
    # a training ends where it reads the file, perhaps after hours
    Rule('images without file', 'images',
         lambda coco: [i for i, image in enumerate(coco.images) if not osp.isfile(coco.path(image))],
         'images {ids} are not in {data.folder}', shown='file_name'),
    # open-mmlab/mmdetection#4139; objects of images with the size 0 are dropped
    Rule('sizes of images that are no positive numbers', 'images',
         each('images', lambda image: stated_size(image) is None),
         'width and height of images {ids} must be positive numbers of pixels'),
    # sartorius-research/LIVECell#14; an entry per object makes background of the others
    suspicion('images with the same file', 'images', repeated('images', 'file_name'),
              '{count} of {total} images have the same file as another image, e.g. {ids}', shown='file_name'),
    # open-mmlab/mmdetection#1732: labels go by the order in the file
    Rule('categories in another order than the classes of the training', 'categories', _in_another_order,
         'the categories must be in the order of the classes in the config, {detail}, ..., got {ids}', shown='name',
         detail=lambda coco, _: ', '.join((coco.classes or ())[:3]), repair=_order_categories),
    # open-mmlab/mmdetection#11704, facebookresearch/Detectron#1010: each class has the AP of another one
    Rule('ids of categories that do not ascend', 'categories', _not_ascending, 'ids of categories do not ascend, so '
         'that classwise=True gives each class the AP of another one, got {ids}; sort the categories', training='',
         evaluation='warning', repair=_order_categories),
    # Roboflow's root category, LabelMe's _background_: their AP is 0, or is left out of the mean
    WITHOUT_OBJECTS,
    # the category is hardly ever found
    Rule(f'categories {RARELY}', 'categories', _rare, f'{{count}} of {{total}} categories {ADD_SOME}', 'warning', '',
         shown='name'),
    # objects are dropped
    Rule('image_id of no image', 'annotations',
         lambda coco: [i for i, entry in enumerate(coco.annotations) if entry['image_id'] not in coco.image_of],
         'image_id of annotations {ids} must be the id of a listed image'),
    # a bare TypeError or ValueError; objects with NaN are dropped
    Rule('boxes that are not four finite numbers', 'annotations',
         each('annotations', lambda entry: not is_box(entry.get('bbox'))),
         'bbox of annotations {ids} must be four finite numbers'),
    # open-mmlab/mmdetection#804
    Rule('areas that are missing or not finite', 'annotations',
         each('annotations', lambda entry: not are_numbers([entry.get('area')])),
         'area of annotations {ids} must be a finite number, such as width * height',
         repair=_set('area', _area_of_box)),
    # training: objects with 0 are dropped; evaluation: all count as small
    suspicion('areas that are 0 or less, or relative to the image', 'annotations', column(_has_too_small_area),
              f'the field area of {THEM} is at most 1, but their boxes are larger; mmdet leaves out objects with 0, '
              'and pycocotools counts all as small: set area to width * height'),
    # cocodataset/cocoapi#374
    Rule('iscrowd is missing', 'annotations', each('annotations', lambda entry: entry.get('iscrowd') is None),
         'iscrowd of annotations {ids} must be given, 0 for objects', training='',
         repair=_set('iscrowd', lambda entry: 0)),
    # open-mmlab/mmdetection#4897
    Rule('ids of annotations that are missing or repeated', 'annotations', repeated('annotations'),
         'ids of annotations must be given and unique, got {ids} again', repair=_number_annotations),
    # cocodataset/cocoapi#332, cvat-ai/cvat#748: the id 0 counts as not found; text: a bare ValueError
    Rule('ids of annotations that are no positive integers', 'annotations',
         each('annotations', lambda entry: not _is_id(entry.get('id'))),
         'id of annotations {ids} must be an integer from 1 on', training='', repair=_number_annotations),
    # cocodataset/cocoapi#348; a bare KeyError; with NaN, all memory is taken; with wrong run lengths, no end of IoU
    Rule('masks that are missing or cannot be used, if an object has one', 'annotations', _unusable_masks,
         '{count} of {total} annotations have no mask that can be used, the first is {detail}; correct the masks, or '
         'train boxes alone: boxes_only (--boxes-only), in a config a detector without masks, e.g. '
         'configs/retinanet_*.py',
         detail=_reason),
    # open-mmlab/mmdetection#2047, wkentaro/labelme#531: if ids are shifted by one, the others have a neighbor's class
    Rule('category_id not in the list of categories', 'annotations', column(_has_unknown_category),
         f'mmdet leaves out {THEM}: category_id not in the list of categories; if the ids of all are shifted by one, '
         'the other objects have the class of a neighbor'),
    # the next six: the objects become background in the training, and count in the evaluation;
    # facebookresearch/detectron2#2957
    left_out('negative width or height; a box is x, y of the upper left corner, width, height',
             lambda coco: (coco.boxes[:, 2:] < 0).any(1)),
    left_out(f'coordinates from 0 to 1; {SCALE}',
             lambda coco: (coco.corners[:, 2:].max(1) <= 1.01) & (coco.sizes.min(1) > 1.01)),
    left_out('no area, or a side shorter than one pixel',
             lambda coco: (coco.areas <= 0) | (coco.boxes[:, 2:] < 1).any(1)),
    left_out('box outside its image; check the width and height of the image',
             lambda coco: (np.minimum(coco.corners[:, 2:], coco.sizes) <= np.maximum(coco.corners[:, :2], 0)).any(1)),
    left_out('ignore=1, which evaluation does not know; set iscrowd=1 in place of it',
             lambda coco: [bool(entry.get('ignore')) for entry in coco.annotations], error_from=1.0),
    left_out('iscrowd=1, which marks groups of objects that training ignores',
             lambda coco: [bool(entry.get('iscrowd')) for entry in coco.annotations], error_from=1.0),
    # boxes are too large
    suspicion('boxes that seem to be x1, y1, x2, y2', 'annotations', column(_is_corners),
              f'boxes of {THEM} seem to be x1, y1, x2, y2; a box is x, y, width, height'),
    # training clips boxes to the image, and evaluation does not, so that perfect detections have an AP50 of 0
    suspicion('boxes of which less than half is inside their image', 'annotations',
              column(lambda coco: _iou_of_part_inside(coco) < HALF),
              f'boxes of {THEM} reach far beyond their image, to which training clips them, and evaluation does not; '
              'the IoU with the part inside is {detail}: clip them',
              detail=lambda coco, i: f'{_iou_of_part_inside(coco)[i]:.2f} for the first'),
    # merged exports: a detector finds an object once, and misses the other one
    suspicion('the same box twice in an image', 'annotations', _repeated_boxes,
              f'{THEM} repeat the box of another one of their category and image, which counts as missed; remove them',
              None),
    # cocodataset/cocoapi#184, HumanSignal/label-studio#5899: masks that have nothing to do with the objects
    suspicion('polygons and run lengths that do not match their boxes', 'annotations', column(_is_apart),
              f'segmentations of {THEM} do not match their boxes; polygons have pixels of the image as it is (from 0 '
              f"to 1: {SCALE}), and run lengths go column by column (order='F'), and begin with the number of zeros"),
]
