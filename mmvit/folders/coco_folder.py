"""Reads the images and annotations of a detector from a folder, and repairs annotations in a copy."""
import json
import os.path as osp
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.file_access import check_outputs

from ..utils.distributed import is_first_process, warn
from .coco import Coco, report_images
from .coco_rules import WITHOUT_OBJECTS, coco_problems
from .colors import class_palette
from .folders import FolderData, Split, relate_to, write_file
from .rules import Problem, apply

LAYOUT = ('annotations/instances_train.json, annotations/instances_val.json, train/ and val/; for a training also, '
          'with val_fraction=0.1 (--val-fraction 0.1), annotations/instances_train.json and train/, or '
          "annotations/instances.json and images/; YOLO's, Pascal VOC's and Roboflow's formats are converted as in "
          'docs/own_data.md')


def read_coco_folder(folder: str, split: Split, out: str, classes: Sequence[str] | None, boxes_only: bool
                     ) -> FolderData:
    """Returns the data sets of a detector from ``train/`` and ``val/`` with ``annotations/instances_{train,val}.json``.

    What the rules of ``COCO_RULES`` can repair is repaired in a copy of the annotation file, which is said.

    Args:
        folder (str): The folder.
        split (Split): Its split.
        out (str): Folder for repaired annotation files.
        classes (Sequence[str] | None): Classes of a training; None for the categories of the training file.
        boxes_only (bool): Whether to use only the boxes of objects.

    Raises:
        UsageError: If the folder has another layout, an annotation file cannot be read, or the validation images have
            other classes.
    """
    prefixes, files = _find_files(folder, split, is_test=classes is not None)
    cocos: dict[str, Coco] = {}
    for part, file in files.items():  # training and validation may have the same file
        if file not in cocos:
            cocos[file] = Coco.read(osp.join(folder, file), osp.join(folder, prefixes[part]))
        cocos[file].is_evaluated = part == 'val'
    has_masks = not boxes_only and any(coco.gives_masks for coco in cocos.values())
    if not has_masks and not boxes_only and is_first_process():
        files_of_boxes = ', '.join(coco.file for coco in cocos.values())
        print(f'no object has a mask, crowds aside, in {files_of_boxes}: boxes are used alone')
    problems: list[Problem] = []
    repaired, ids = set(), ()
    for file, coco in cocos.items():
        coco.needs_masks, coco.classes, coco.ids, changes = has_masks, classes, ids, []
        if others := coco.used_names.difference(classes or coco.names):
            raise UsageError(f'{coco.file}: the validation data have the classes {sorted(others)}, which the training '
                             f'lacks; it has {sorted(classes or ())}')
        problems += coco_problems(coco, changes)
        classes, ids = classes or coco.names, ids or tuple(category['id'] for category in coco.categories)
        if changes:
            warn(f'{coco.file}: repaired in a copy, the file stays as it is: {"; ".join(changes)}')
            repaired.add(file)
    contents = {part: cocos[file].content for part, file in files.items()}
    if split.val_fraction is not None:
        whole = cocos[files['val']]
        contents = divide(whole, split, problems)
        some = replace(whole, content=contents['train'], classes=tuple(whole.used_names))
        problems += apply([WITHOUT_OBJECTS], some, False, place=f'{whole.file}, training images')
    assert classes is not None
    metainfo = dict(classes=tuple(classes), palette=class_palette(len(classes)))
    if len(ids) == len(classes):
        metainfo['category_ids'] = ids
    datasets, paths = {}, {}
    for part, file in files.items():
        path, ann_file = osp.join(folder, file), file
        if split.val_fraction is not None or file in repaired:
            name = f'instances_{part}.json'
            check_outputs('out', [osp.join(out, name)], [coco.file for coco in cocos.values()])
            path = write_file(out, name, json.dumps(contents[part]))
            ann_file = relate_to(folder, path)
        paths[part] = path
        datasets[part] = dict(type='CocoDataset', data_root=osp.join(folder, ''), ann_file=ann_file,
                              data_prefix=dict(img=osp.join(prefixes[part], '')), metainfo=metainfo)
    for coco in cocos.values():
        report_images(coco)
    rasters = {part: cocos[files[part]].rasters(content['images']) for part, content in contents.items()}
    return FolderData(datasets.get('train', {}), datasets['val'], tuple(classes), rasters, tuple(problems),
                      tuple(coco.file for coco in cocos.values()), has_masks, paths['val'],
                      max(map(count_most_objects, contents.values())))


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


def count_most_objects(content: dict) -> int:
    """Returns the most objects in an image that are no crowds."""
    counts = Counter(annotation['image_id'] for annotation in content['annotations'] if not annotation.get('iscrowd'))
    return max(counts.values(), default=0)


def divide(coco: Coco, split: Split, problems: Sequence[Problem]) -> dict[str, dict]:
    """Splits the content of a COCO file into that of 'train' and that of 'val'.

    Raises:
        UsageError: If the split leaves a part without objects, or without a class of several images; not for
            ``problems`` that are errors, which are reported instead.
    """
    content, parts, classes = coco.content, {}, {}
    files = {image['id']: image['file_name'] for image in coco.images}
    if not any(problem.is_error for problem in problems):
        names = {category['id']: category['name'] for category in coco.categories}
        classes = {file: set() for file in files.values()}
        for annotation in coco.annotations:
            if not (annotation.get('iscrowd') or annotation.get('ignore')) and annotation['category_id'] in names:
                classes[files[annotation['image_id']]].add(names[annotation['category_id']])
    chosen = split.choose(coco.folder, [files.values()], classes)
    for part in 'train', 'val':
        images = [image for image in coco.images if (image['file_name'] in chosen) is (part == 'val')]
        ids = {image['id'] for image in images}
        annotations = [annotation for annotation in content['annotations'] if annotation['image_id'] in ids]
        parts[part] = dict(content, images=images, annotations=annotations)
    return parts
