"""Rules for COCO files: what mmdet and pycocotools cannot use, or leave out, and what is probably a mistake."""
import os.path as osp
import re
from collections import Counter
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import numpy as np

from .class_lists import alike_names, cleaned, is_name
from .coco import MAX_ID, Coco, is_box, is_id, is_size
from .folders import composed
from .rules import HALF, Problem, Rule, apply, each
from .segmentations import are_numbers

BOX = 'a box is x, y, width, height, not x1, y1, x2, y2'
SCALE = 'multiply x by the width of the image and y by its height'
THEM = '{count} of {total} annotations (ids {ids})'
LEFT_OUT = f'mmdet leaves out {THEM}: '
MIN_IOU = 0.5  # of a box and the bounding box of its polygons


def coco_problems(coco: Coco, repairs: list[str] | None = None) -> list[Problem]:
    """Returns the problems of a COCO file; with ``repairs``, after repairing what can be repaired, which is added."""
    return apply(COCO_RULES, coco, coco.is_evaluated, repairs, place=coco.file)


def column(is_wrong: Callable[[Coco], Any]) -> Callable[[Coco], list[int]]:
    """Returns a function that finds the annotations for which a column is true."""
    return lambda coco: np.flatnonzero(is_wrong(coco)).tolist() if coco.annotations else []


def repeated(of: str) -> Callable[[Coco], list[int]]:
    """Returns a function that finds the entries of a list that have the id of an earlier one."""
    def find(coco: Coco) -> list[int]:
        known: set = set()
        return [i for i, entry in enumerate(getattr(coco, of))
                if entry.get('id') is not None and (entry['id'] in known or known.add(entry['id']))]
    return find


def changed(of: str, change: Callable[[dict], Any]) -> Callable[[Coco, list[int]], None]:
    """Returns a repair that changes the entries of a list that were found."""
    def repair(coco: Coco, found: list[int]) -> None:
        for i in found:
            change(getattr(coco, of)[i])
    return repair


# ---- lists


def _mixed_ids(of: str) -> Callable[[Coco], list[int]]:
    def find(coco: Coco) -> list[int]:
        texts = [isinstance(entry['id'], str) for entry in getattr(coco, of)]
        return [i for i, is_text in enumerate(texts) if is_text != texts[0]]
    return find


def _no_files(coco: Coco) -> list[int]:
    return [i for i, image in enumerate(coco.images) if coco.place(image['file_name']) not in coco.files]


def _files_of_another_form(coco: Coco) -> list[int]:
    missing = [i for i in _no_files(coco) if not coco.images[i]['file_name'].isascii()]
    return [i for i in missing if composed(osp.normpath(coco.images[i]['file_name'])) in coco.composed_files]


def _missing_files(coco: Coco) -> list[int]:
    others = set(_files_of_another_form(coco))
    return [i for i in _no_files(coco) if i not in others]


def _repeated_files(coco: Coco) -> list[int]:
    places, known = [coco.place(image['file_name']) for image in coco.images], set()
    return [i for i, place in enumerate(places) if place in known or known.add(place)]


def _most_repeated_file(coco: Coco, _: int) -> str:
    return Counter(image['file_name'] for image in coco.images).most_common(1)[0][0]


def _use_found_files(coco: Coco, found: list[int]) -> None:
    for i in found:
        image = coco.images[i]
        image['file_name'] = coco.composed_files[composed(osp.normpath(image['file_name']))]
    coco.__dict__.pop('_folders', None)
    coco.__dict__.pop('files', None)


def _has_float_size(image: dict) -> bool:
    size: Any = [image.get('width'), image.get('height')]
    return is_size(size) and float in map(type, size) and all(side % 1 == 0 for side in size)


# ---- categories


def _make_ids_integers(coco: Coco, found: list[int]) -> None:
    """Gives all categories the integers that their ids state, such as '7' and 7.0, or else numbers."""
    stated = [_stated(category['id']) for category in coco.categories]
    if None in stated or len(set(stated)) < len(stated):
        _number_categories(coco, found)
        return
    for category, number in zip(coco.categories, stated):
        category['id'] = number
    for annotation in coco.annotations:
        number = _stated(annotation.get('category_id'))
        annotation['category_id'] = annotation.get('category_id') if number is None else number


def _stated(value: Any) -> int | None:
    """Returns the integer that an id states, or None."""
    if isinstance(value, str):
        return int(value) if re.fullmatch(r'-?[0-9]{1,15}', value) else None
    return int(value) if value is not None and abs(value) <= MAX_ID and value % 1 == 0 else None


def _number_categories(coco: Coco, found: list[int]) -> None:
    """Numbers all categories from 1, unless ids are repeated; no annotation gets a category by that."""
    new: dict[Any, int] = {category['id']: i for i, category in enumerate(coco.categories, 1)}
    if len(new) == len(coco.categories):
        for category in coco.categories:
            category['id'] = new[category['id']]
        taken = set(new.values())
        for annotation in coco.annotations:
            before = annotation.get('category_id')
            annotation['category_id'] = new.get(before, 0 if before in taken else before)


def _unsorted_categories(coco: Coco) -> list[int]:
    """Returns the positions of the categories that are classes, if their ids do not ascend."""
    found = [i for i, name in enumerate(coco.names) if coco.classes is None or name in coco.classes]
    ids = [coco.categories[i]['id'] for i in found]
    return found if coco.by_class and all(type(number) is int for number in ids) and ids != sorted(ids) else []


def _sort_categories(coco: Coco, found: list[int]) -> None:
    """Sorts the categories by their ids, or, where their order is that of a training, numbers them in this order."""
    if coco.classes is None:
        coco.content = dict(coco.content, categories=sorted(coco.categories, key=itemgetter('id')))
    else:
        _number_categories(coco, found)


def _shifted_ids(coco: Coco) -> list[int]:
    known = {category['id'] for category in coco.categories}
    used = [annotation.get('category_id') for annotation in coco.annotations]
    numbers = {number for number in used if isinstance(number, int)}
    is_shifted = not numbers <= known and any(
        {number + shift for number in numbers} <= known for shift in (1, -1))
    return list(range(len(used))) if is_shifted and numbers.issuperset(used) else []


def _ids_of_categories(coco: Coco, _: int) -> str:
    used = sorted({annotation['category_id'] for annotation in coco.annotations})
    return f'{str(used)[1:60]} in the annotations, {str([category["id"] for category in coco.categories])[1:60]}'


def _disordered(coco: Coco) -> list[int]:
    wanted = tuple(coco.classes or ())
    named = tuple(name for name in coco.names if name in wanted)
    return list(range(len(coco.categories))) if named != wanted else []


def _classes(coco: Coco, _: int) -> str:
    return f'{", ".join((coco.classes or ())[:3])}, ...'


def _order_categories(coco: Coco, found: list[int]) -> None:
    """Puts the categories in the order of the classes, adds missing ones, and leaves out others without annotations."""
    ids = {category['name']: category['id'] for category in coco.categories}
    used = {annotation.get('category_id') for annotation in coco.annotations}
    free = max((number for number in (*ids.values(), *used) if isinstance(number, int)), default=0) + 1
    classes = list(coco.classes or ())
    others = [category for category in coco.categories if category['id'] in used and category['name'] not in classes]
    coco.content = dict(coco.content, categories=[
        *(dict(id=ids.get(name, free + i), name=name) for i, name in enumerate(classes)), *others])


# ---- annotations


def _use_area_of_box(annotation: dict) -> None:
    box: Any = annotation.get('bbox')
    if is_box(box):
        annotation['area'] = box[2] * box[3]


def _has_too_small_area(coco: Coco) -> Any:
    """Returns for each annotation whether its area is 0 or less, or below a pixel, though its box has more."""
    sides = coco.boxes[:, 2:]
    return (coco.areas <= 0) & (sides > 0).all(1) | (coco.areas <= 1) & (sides >= 2).all(1)


def _make_crowd(annotation: dict) -> None:
    annotation.pop('ignore')
    annotation['iscrowd'] = 1


def _use_box_as_mask(annotation: dict) -> None:
    x, y, width, height = annotation['bbox']
    annotation['segmentation'] = [[x, y, x + width, y, x + width, y + height, x, y + height]]


def _number_annotations(coco: Coco, found: list[int]) -> None:
    """Gives annotations unique positive integers as ids; the first one with a valid id keeps it."""
    known, wrong = set(), []
    for annotation in coco.annotations:
        number = annotation.get('id')
        if is_id(number) and number not in known:
            known.add(number)
        else:
            wrong.append(annotation)
    free = max(known, default=0)
    if free + len(wrong) > MAX_ID:
        wrong, free = coco.annotations, 0
    for number, annotation in enumerate(wrong, free + 1):
        annotation['id'] = number


# ---- masks of objects


def _changed_masks(coco: Coco) -> list[int]:
    return [i for i, annotation in enumerate(coco.annotations) if coco.has_size[i] and annotation.get('segmentation')
            and annotation['segmentation'] is not coco.masks[i].usable] if coco.needs_masks else []


def _reason(coco: Coco, i: int) -> str:
    number = coco.annotations[i].get('id')
    name = f'annotation {number!r:.40}' if number is not None else f'the annotation at position {i + 1}, without id'
    return f'{name} ({coco.masks[i].reasons[0]})' if coco.masks[i].reasons else name


def _take_usable(coco: Coco, found: list[int]) -> None:
    for i in found:
        coco.annotations[i]['segmentation'] = coco.masks[i].usable or []


def _objects_without_mask(coco: Coco) -> list[int]:
    if not coco.needs_masks or not coco.annotations:
        return []
    is_left_out = coco.is_left_out & (not coco.is_evaluated)
    return [position for position, i in enumerate(coco.objects)
            if coco.has_size[i] and not coco.annotations[i].get('segmentation') and not is_left_out[i]]


def _crowds_without_mask(coco: Coco) -> list[int]:
    return [i for i, annotation in enumerate(coco.annotations) if coco.has_size[i] and annotation.get('iscrowd')
            and not annotation.get('segmentation') and is_box(annotation.get('bbox'))] if coco.needs_masks else []


# ---- suspicious annotations


def _is_relative(coco: Coco) -> Any:
    return (coco.corners[:, 2:].max(1) <= 1.01) & (coco.sizes.min(1) > 1.01)


def _is_beyond(coco: Coco) -> Any:
    return (coco.corners[:, 2:] > coco.sizes + 2).any(1)


def _is_apart(coco: Coco) -> Any:
    return _iou(coco.corners, coco.extents) < MIN_IOU


def _is_corners(coco: Coco) -> Any:
    fits = _iou(coco.boxes, coco.extents) >= MIN_IOU
    return (coco.boxes[:, 2:] > coco.boxes[:, :2]).all(1) & (
        _is_beyond(coco) & np.isnan(coco.extents[:, 0]) | _is_apart(coco) & fits)


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the IoU of corresponding boxes x1, y1, x2, y2 in two arrays (N, 4); NaN if a box has NaN."""
    inter = (np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])).clip(0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - inter
    return inter / np.where(union > 0, union, 1)


def _suspicion(name: str, sentence: str, is_wrong: Callable[[Coco], Any], error_from: float | None = HALF,
               **repair: Any) -> Rule:
    return Rule(name, 'annotations', column(is_wrong), sentence, 'warning', 'warning', error_from, **repair)


COCO_RULES = [
    Rule('a byte order mark', 'lists', lambda coco: [0] if coco.has_mark else [],
         'the file starts with a byte order mark, which mmdet does not read; save it as UTF-8 without one, or use '
         '--coco-folder',
         repair=lambda coco, found: setattr(coco, 'has_mark', False), repaired='byte order mark removed'),
    Rule('an empty list of images, annotations or categories', 'lists',
         lambda coco: [i for i, key in enumerate(coco.lists) if not coco.content[key]], '{ids} is empty', each=True),
    Rule('ids of categories that are no integers, which pycocotools needs', 'categories',
         each('categories', lambda entry: type(entry['id']) is not int or abs(entry['id']) > MAX_ID),
         'ids of categories must be integers, by which pycocotools finds their names, got {ids}; --coco-folder '
         'makes them integers', training='', repair=_make_ids_integers, repaired='ids of categories made integers'),
    *(Rule(f'ids of {key} that are not finite, or too large', key,
           each(key, lambda entry: not isinstance(entry['id'], str) and not abs(entry['id']) <= MAX_ID),
           f'ids of {key} must be finite, and at most {MAX_ID}, got {{ids}}') for key in ('images', 'categories')),
    *(Rule(f'ids of {key} that are partly text', key, _mixed_ids(key),
           f'ids of {key} must be all numbers or all strings, got both') for key in ('images', 'categories')),
    *(Rule(f'repeated ids of {key}', key, repeated(key), f'ids of {key} must be unique, got duplicates of {{ids}}')
      for key in ('images', 'categories')),
    Rule('images without file, as the file name has another Unicode form (NFC, NFD)', 'images', _files_of_another_form,
         'images {ids} are not in {data.folder}, where the names have another Unicode form (NFC or NFD); rename the '
         'files, or use --coco-folder', shown='file_name', repair=_use_found_files,
         repaired='{count} file names written as in {data.folder} (Unicode forms NFC and NFD)'),
    Rule('images without file', 'images', _missing_files, 'images {ids} are not in {data.folder}', shown='file_name'),
    Rule('sizes of images that are no positive numbers', 'images',
         each('images', lambda image: not is_size([image.get('width'), image.get('height')])),
         'width and height of images {ids} must be positive numbers of pixels'),
    Rule('sizes of images such as 640.0', 'images', each('images', _has_float_size), '', '', '',
         repair=changed('images', lambda image: image.update(width=int(image['width']), height=int(image['height']))),
         repaired='sizes of images made integers'),
    Rule('names of categories that are empty or no text', 'categories',
         each('categories', lambda category: not is_name(category['name'])),
         'the name of a class must be a string that is not empty, got {ids}', shown='name'),
    Rule('names of categories that differ by case, space or Unicode form alone', 'categories',
         lambda coco: alike_names(coco.names), 'names of classes must differ by more than case or space, got {ids}',
         shown='name'),
    Rule('names of categories with spaces around them, tabs, line breaks, or composed accents', 'categories',
         each('categories', lambda entry: is_name(entry['name']) and entry['name'] != cleaned(entry['name'])),
         '', '', '', repair=changed('categories', lambda entry: entry.update(name=cleaned(entry['name']))),
         repaired='spaces stripped from the names of {count} categories, or accents composed'),
    Rule('image_id of no image', 'annotations',
         lambda coco: [i for i, annotation in enumerate(coco.annotations)
                       if annotation.get('image_id') not in coco.image_of],
         'image_id of annotations {ids} must be the id of a listed image'),
    Rule('no category_id', 'annotations', each('annotations', lambda entry: entry.get('category_id') is None),
         'category_id of annotations {ids} must be given'),
    Rule('boxes that are not four finite numbers', 'annotations',
         each('annotations', lambda entry: not is_box(entry.get('bbox'))),
         'bbox of annotations {ids} must be four finite numbers'),
    Rule('areas that are missing or not finite', 'annotations',
         each('annotations', lambda entry: not are_numbers([entry.get('area')])),
         'area of annotations {ids} must be a finite number, such as width * height',
         repair=changed('annotations', _use_area_of_box), repaired='area added to {count} annotations'),
    _suspicion('areas that are 0 or less, or relative to the image', f'the field area of {THEM} is at most 1, but '
               'their boxes are larger; mmdet leaves out objects with an area of 0 in training, and pycocotools counts '
               'all of them as small: set area to width * height, or use --coco-folder', _has_too_small_area,
               repair=changed('annotations', _use_area_of_box),
               repaired='area of {count} annotations, which was at most 1, set to width * height'),
    Rule('iscrowd is missing, which pycocotools needs', 'annotations',
         each('annotations', lambda entry: entry.get('iscrowd') is None), 'iscrowd of annotations {ids} must be given',
         training='', repair=changed('annotations', lambda entry: entry.update(iscrowd=0)),
         repaired='iscrowd added to {count} annotations'),
    Rule('iscrowd is neither 0 nor 1', 'annotations',
         each('annotations', lambda entry: entry.get('iscrowd', 0) not in (0, 1)),
         'iscrowd of annotations {ids} must be 0 or 1'),
    Rule('ignore is neither 0 nor 1', 'annotations',
         each('annotations', lambda entry: entry.get('ignore') not in (None, 0, 1)),
         'ignore of annotations {ids} must be 0 or 1'),
    _suspicion('objects with ignore=1', f'{THEM} have ignore=1: mmdet leaves them out of the training, where they are '
               'background, but pycocotools counts them as objects to be found; set iscrowd=1 in place of it, or use '
               '--coco-folder', lambda coco: np.array([bool(entry.get('ignore')) for entry in coco.annotations]), 1.0,
               repair=changed('annotations', _make_crowd),
               repaired='iscrowd=1 in place of ignore=1 in {count} annotations'),
    Rule('masks with unusable parts, such as two points, or run lengths of another size', 'annotations', _changed_masks,
         'masks of annotations {ids} cannot be used, the first is that of {detail}', detail=_reason,
         repair=_take_usable,
         repaired='masks of {count} annotations without their unusable parts, the first is that of {detail}'),
    Rule('objects without usable mask, if others have one', 'objects', _objects_without_mask,
         '{count} of {total} objects have no mask that can be used, the first is {detail}; add the missing masks, or '
         'train boxes alone: a folder with boxes_only=True (--boxes-only), a config with a detector without masks, '
         'e.g. configs/retinanet_*.py', detail=lambda coco, position: _reason(coco, coco.objects[position])),
    Rule('crowds without mask, if objects have one', 'annotations', _crowds_without_mask,
         'crowds {ids} have no mask; use --coco-folder, which takes their box',
         repair=changed('annotations', _use_box_as_mask), repaired='{count} crowds without mask get their box as mask'),
    Rule('annotations without id', 'annotations', each('annotations', lambda entry: entry.get('id') is None),
         'all annotations must have an id, {count} of {total} have none; --coco-folder numbers them',
         repair=_number_annotations, repaired='{count} annotations numbered, because they have no id'),
    Rule('repeated ids of annotations', 'annotations', repeated('annotations'),
         'ids of annotations must be unique, got duplicates of {ids}; --coco-folder numbers them',
         repair=_number_annotations, repaired='{count} annotations numbered, because ids must be unique'),
    Rule('ids of annotations that are no positive integers, which pycocotools needs', 'annotations',
         each('annotations', lambda entry: entry.get('id') is not None and not is_id(entry['id'])),
         f'id of annotations {{ids}} must be integers from 1 to {MAX_ID}; --coco-folder numbers them', training='',
         repair=_number_annotations, repaired='{count} annotations numbered, because ids must be positive integers'),
    Rule('category_id shifted by one', 'annotations', _shifted_ids,
         'the ids of the categories are shifted by one: {detail} in the list of categories', detail=_ids_of_categories),
    Rule('categories in another order than the classes of the training', 'categories', _disordered,
         'the categories must be in the order of the classes in the config, {detail}, got {ids}; use --coco-folder to '
         'match them by name', shown='name', detail=_classes,
         repair=_order_categories, repaired='categories put in the order of the classes'),
    Rule('ids of categories that do not ascend, where figures are by class', 'categories', _unsorted_categories,
         'ids of categories must ascend, as pycocotools sorts them, and mmdet would give each class the AP of another '
         'one; got {ids}: use --coco-folder, sort the categories, or set classwise=False in the evaluator', training='',
         repair=_sort_categories, repaired='categories in the order of their ids'),
    Rule('images with the same file', 'images', _repeated_files,
         '{count} of {total} images have the same file as another image, e.g. {detail}', 'warning', 'warning', HALF,
         detail=_most_repeated_file),
    Rule('categories without annotations', 'categories',
         lambda coco: [i for i, name in enumerate(coco.names) if name not in coco.used_names],
         'categories without annotations: {ids}', 'warning', 'warning', shown='name'),
    _suspicion('category_id of no category', LEFT_OUT + 'category_id not in the list of categories',
               lambda coco: ~coco.has_known_category),
    _suspicion('boxes with negative width or height', LEFT_OUT + 'negative width or height; a box is x, y of the upper '
               'left corner, width, height', lambda coco: (coco.boxes[:, 2:] < 0).any(1)),
    _suspicion('boxes from 0 to 1', LEFT_OUT + f'coordinates from 0 to 1; {SCALE}', _is_relative),
    _suspicion('boxes without area, or with a side below one pixel', LEFT_OUT + 'no area, or a side shorter than one '
               'pixel', lambda coco: (coco.areas <= 0) | (coco.boxes[:, 2:] < 1).any(1)),
    _suspicion('boxes outside their images', LEFT_OUT + 'box outside its image; check the width and height of the '
               'image', lambda coco: coco.is_outside),
    _suspicion('crowds; only crowds are an error', LEFT_OUT + 'iscrowd=1, which marks groups of objects that training '
               'ignores', lambda coco: np.array([bool(entry.get('iscrowd')) for entry in coco.annotations]), 1.0),
    _suspicion('boxes that seem to be x1, y1, x2, y2', f'boxes of {THEM} seem to be x1, y1, x2, y2; {BOX}',
               _is_corners),
    _suspicion('polygons from 0 to 1', f'segmentations of {THEM} have values from 0 to 1; {SCALE}',
               lambda coco: _is_apart(coco) & (coco.extents.max(1) <= 1.01)),
    _suspicion('polygons that do not match their boxes', f'segmentations of {THEM} do not match their boxes, perhaps '
               'because they are for another image size', _is_apart),
    _suspicion('boxes that extend beyond their images', f'boxes of {THEM} extend beyond their images; {BOX}',
               _is_beyond, error_from=None),
]
