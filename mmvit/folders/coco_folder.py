"""Reads the images and annotations of a detector from a folder, and repairs annotations in a copy."""
import json
import os
import os.path as osp
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmvit_backbones.errors import UsageError

from ..utils.colors import class_palette
from ..utils.distributed import is_first_process
from .coco import IMAGES_TO_CHECK, MAX_ID, are_numbers, coco_problems, is_id, is_size, read_coco, reorder, report_images
from .folders import FolderData, Split, check_images, composed, output_folder, seen_from, write
from .problems import report, warn
from .segmentations import usable_segmentation
from .text import check_class_names, has_mark

LAYOUT = ('annotations/instances_train.json, annotations/instances_val.json, train/ and val/; or, with --val-fraction '
          '0.1, annotations/instances_train.json and train/, or annotations/instances.json and images/')
REMEDIES = 'add the missing masks, or train boxes alone with boxes_only=True (--boxes-only)'


@dataclass
class Masks:
    """The masks of the objects in a COCO file, without crowds.

    Args:
        total (int): Number of objects.
        missing (list[str]): Objects without a mask that can be used, with the reason.
        is_changed (bool): Whether parts of masks were left out or rewritten.
    """

    total: int = 0
    missing: list[str] = field(default_factory=list)
    is_changed: bool = False


def read_coco_folder(folder: str | os.PathLike, *, val_fraction: float | None = None, split_seed: int = 0,
                     out: str | os.PathLike | None = None, classes: Sequence[str] | None = None,
                     boxes_only: bool = False, check_files: bool = True) -> FolderData:
    """Returns the data sets of a detector from ``train/`` and ``val/`` with ``annotations/instances_{train,val}.json``.

    Annotation files that mmdet and pycocotools cannot use are repaired in a copy, which is said: ids of annotations
    become unique positive integers, missing ``iscrowd`` and ``area`` are added, parts of masks that cannot be
    used are left out, crowds without mask get their box as mask, and categories get the order of the training file.

    Args:
        folder (str | PathLike): Folder with the data; ``docs/tools.md`` describes the layout.
        val_fraction (float | None): Fraction of the images for validation. Defaults to None: those in ``val/``.
        split_seed (int): Seed of the split by ``val_fraction``. Defaults to 0.
        out (str | PathLike | None): Folder for repaired annotation files, and for lists of images of other tasks.
            Defaults to None: a temporary folder, removed at exit.
        classes (Sequence[str] | None): Classes of a training, whose model is tested on the folder. Then only the
            validation images are read. Defaults to None: the categories of the training file.
        boxes_only (bool): Whether to use only the boxes of objects. Defaults to False: masks, unless no object has one.
        check_files (bool): Whether to check the annotations, and that images can be read. Defaults to True.

    Raises:
        UsageError: If the folder has another layout, an annotation file is invalid, only some objects have masks, the
            validation images have other classes, or an image cannot be read.
    """
    folder, split, out = os.fspath(folder), Split(val_fraction, split_seed), output_folder(out)
    prefixes, files = _find_files(folder, split, is_test=classes is not None)
    places = {part: osp.join(folder, prefix) for part, prefix in prefixes.items()}
    given = {part: osp.join(folder, file) for part, file in files.items()}
    contents = {file: read_coco(osp.join(folder, file)) for file in files.values()}
    changed, masks = set(), {}
    for file, content in contents.items():
        path = osp.join(folder, file)
        images = next(places[part] for part, name in files.items() if name == file)
        masks[path] = repair_masks(path, content) if not boxes_only else Masks()
        if repair(path, content, images) or masks[path].is_changed:
            changed.add(file)
    has_masks = not boxes_only and decide_masks(masks)
    if has_masks:
        changed |= {file for file, content in contents.items() if add_masks_of_crowds(osp.join(folder, file), content)}
    parts = {part: contents[file] for part, file in files.items()}
    if val_fraction is not None:
        parts['train'], parts['val'] = divide(contents[files['train']], split)
    if classes is None:
        classes = _names(parts['train'])
    paths = {}
    for part, content in parts.items():
        if val_fraction is None and files[part] not in changed and _names(content) == tuple(classes):
            paths[part] = osp.join(folder, files[part])
        else:
            parts[part] = reorder(content, tuple(classes))
            paths[part] = write(out, f'instances_{part}.json', json.dumps(parts[part]))
            files[part] = seen_from(folder, paths[part])
    listed = defaultdict(list)
    for part, place in places.items():
        listed[osp.realpath(place)].append(parts[part])
    report_images(listed)
    for part, content in parts.items() if check_files and is_first_process() else ():
        report(coco_problems(given[part], content, places[part], is_evaluated=part == 'val',
                             num_images=IMAGES_TO_CHECK, needs_masks=has_masks))
    if check_files:
        check_images(dict.fromkeys(osp.join(places[part], image['file_name'])
                                   for part, content in parts.items() for image in content['images']))
    datasets = {part: dict(type='CocoDataset', data_root=osp.join(folder, ''), ann_file=files[part],
                           data_prefix=dict(img=osp.join(prefixes[part], '')),
                           metainfo=dict(classes=tuple(classes), palette=class_palette(len(classes))))
                for part in parts}
    num_train = _number_of_annotated(parts['train']) if 'train' in parts else 0
    return FolderData(datasets.get('train', {}), datasets['val'], tuple(classes), num_train,
                      len(parts['val']['images']), has_masks, paths['val'])


def _find_files(folder: str, split: Split, is_test: bool) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the folder of images and the annotation file of each part, relative to the data set's folder."""
    prefixes = split.find_parts(folder, LAYOUT, is_test)
    files = {part: osp.join('annotations', f'instances_{part}.json') for part in prefixes}
    if split.val_fraction is not None:
        if not osp.isfile(osp.join(folder, files['train'])):
            prefixes, files['train'] = dict.fromkeys(prefixes, 'images'), osp.join('annotations', 'instances.json')
        files['val'] = files['train']
    for file in files.values():
        if not osp.isfile(osp.join(folder, file)):
            raise UsageError(f'there is no file {osp.join(folder, file)}; expected {LAYOUT}')
    return prefixes, files


def _names(content: dict) -> tuple[str, ...]:
    return tuple(category['name'] for category in content['categories'])


def _number_of_annotated(content: dict) -> int:
    return len({annotation.get('image_id') for annotation in content['annotations']}
               & {image['id'] for image in content['images']})


def divide(content: dict, split: Split) -> list[dict]:
    """Splits the content of a COCO file; returns one part for training and one for validation."""
    parts = []
    for images in split.divide(content['images']):
        ids = {image['id'] for image in images}
        annotations = [annotation for annotation in content['annotations'] if annotation.get('image_id') in ids]
        parts.append(dict(content, images=images, annotations=annotations))
    return parts


# ---- repairs


def repair(file: str, content: dict, folder: str) -> bool:
    """Repairs the content of a COCO file, except masks; says what was changed, and returns whether something was.

    Args:
        file (str): Path of the file.
        content (dict): Its content, changed in place.
        folder (str): Folder of the images.
    """
    check_class_names([category['name'] for category in content['categories']], file)
    changes = [*_add_fields(content), *_number_annotations(content), *_number_categories(content),
               *_strip_names(content), *_find_composed(content, folder)]
    if has_mark(file):
        changes.append('byte order mark removed')
    if changes:
        warn(f'{file}: {", ".join(changes)}; used in a copy, the file stays as it is')
    return bool(changes)


def _add_fields(content: dict) -> list[str]:
    changes = []
    for key, value_for in dict(iscrowd=lambda annotation: 0, area=_box_area).items():
        lacking = [annotation for annotation in content['annotations'] if annotation.get(key) is None]
        for annotation in lacking:
            annotation[key] = value_for(annotation)
        if lacking:
            changes.append(f'{key} added to {len(lacking)} annotations')
    sides = [(image, key) for image in content['images'] for key in ('width', 'height')
             if isinstance(image.get(key), float) and image[key].is_integer()]
    for image, key in sides:
        image[key] = int(image[key])
    return changes + (['sizes of images made integers'] if sides else [])


def _number_annotations(content: dict) -> list[str]:
    """Gives annotations unique positive integers as ids; the first one with a valid id keeps it.

    pycocotools takes the id 0 for unmatched, and expects numbers.
    """
    known, wrong = set(), []
    for annotation in content['annotations']:
        number = annotation.get('id')
        if is_id(number) and number not in known:
            known.add(number)
        else:
            wrong.append(annotation)
    free = max(known, default=0)
    if free + len(wrong) > MAX_ID:
        wrong, free = content['annotations'], 0
    for number, annotation in enumerate(wrong, free + 1):
        annotation['id'] = number
    return [f'{len(wrong)} annotations numbered, because ids must be unique positive integers'] if wrong else []


def _number_categories(content: dict) -> list[str]:
    """Gives categories integers as ids if some have others, which pycocotools does not find by their id."""
    ids = [category['id'] for category in content['categories']]
    if all(type(number) is int and abs(number) <= MAX_ID for number in ids) or len(set(ids)) < len(ids):
        return []  # the checks report duplicates
    new = {number: i for i, number in enumerate(ids, 1)}
    for category in content['categories']:
        category['id'] = new[category['id']]
    for annotation in content['annotations']:
        annotation['category_id'] = new.get(annotation.get('category_id'), annotation.get('category_id'))
    return ['categories numbered, because their ids must be integers']


def _strip_names(content: dict) -> list[str]:
    changed = [category for category in content['categories'] if category['name'] != composed(category['name'].strip())]
    for category in changed:
        category['name'] = composed(category['name'].strip())
    return [f'spaces stripped from the names of {len(changed)} categories, or accents composed'] if changed else []


def _find_composed(content: dict, folder: str) -> list[str]:
    """Finds files whose names have another Unicode form than in the annotations."""
    accented = [image for image in content['images'] if not image['file_name'].isascii()
                and not osp.isfile(osp.join(folder, image['file_name']))]
    if not accented:
        return []
    files = {composed(name): name for name in (
        str(path.relative_to(folder)) for path in Path(folder).rglob('*') if path.is_file())}
    changed = 0
    for image in accented:
        if name := files.get(composed(osp.normpath(image['file_name']))):
            image['file_name'] = name
            changed += 1
    return [f'{changed} file names written as in {osp.join(folder, "")} (Unicode forms NFC and NFD)'] if changed else []


def _box_area(annotation: dict) -> float | None:
    box: Any = annotation.get('bbox')
    return box[2] * box[3] if are_numbers(box) and len(box) == 4 else None  # the checks report invalid boxes


# ---- masks


def repair_masks(file: str, content: dict) -> Masks:
    """Leaves out the parts of masks that cannot be used, and says how many.

    Args:
        file (str): Path of the COCO file, for the messages.
        content (dict): Its content, changed in place.

    Returns:
        Masks: The objects without a mask.
    """
    sizes = {image['id']: (image.get('height'), image.get('width')) for image in content['images']}
    masks, left, first = Masks(), 0, ''
    for position, annotation in enumerate(content['annotations'], 1):
        height, width = sizes.get(annotation.get('image_id'), (None, None))
        if not is_size(height) or not is_size(width):
            continue  # the checks report such images and annotations
        given, number = annotation.get('segmentation'), annotation.get('id')
        usable, reasons = usable_segmentation(given, int(height), int(width))
        name = f'annotation {number!r:.40}' if number is not None else f'annotation at position {position}, without id,'
        if reasons:
            left += len(reasons)
            first = first or f'{name}: {reasons[0]}'
        if given and usable is not given:
            annotation['segmentation'] = usable or []
            masks.is_changed = True
        if not annotation.get('iscrowd'):
            masks.total += 1
            if usable is None:
                masks.missing.append(f'{name} of {file}' + (f' ({reasons[0]})' if reasons else ''))
    if left:
        warn(f'{file}: {left} parts of masks cannot be used and are left out; the first is in {first}')
    return masks


def decide_masks(masks: dict[str, Masks]) -> bool:
    """Returns whether all objects have masks, and says so if none has.

    Args:
        masks (dict[str, Masks]): Masks of the objects in each file.

    Raises:
        UsageError: If only some objects have masks.
    """
    total, missing = sum(of.total for of in masks.values()), [name for of in masks.values() for name in of.missing]
    if total and len(missing) == total:
        if is_first_process():
            print(f'no object has a mask in {", ".join(masks)}: boxes are used alone')
        return False
    if missing:
        counts = ', '.join(f'{len(of.missing)} of {of.total} in {file}' for file, of in masks.items())
        raise UsageError(f'some objects have no mask, and others have one: {counts}; the first is {missing[0]}; '
                         f'{REMEDIES}')
    return True


def add_masks_of_crowds(file: str, content: dict) -> bool:
    """Gives crowds without mask their box as mask; says and returns whether there are any."""
    lacking = [annotation for annotation in content['annotations'] if not annotation.get('segmentation')
               and are_numbers(annotation.get('bbox')) and len(annotation['bbox']) == 4]
    for annotation in lacking:
        x, y, width, height = annotation['bbox']
        annotation['segmentation'] = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    if lacking:
        warn(f'{file}: {len(lacking)} crowds without mask get their box as mask in a copy; the file stays as it is')
    return bool(lacking)
