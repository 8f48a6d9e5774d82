"""Converts boxes and polygons in YOLO or Pascal VOC format to a folder for --coco-folder.

    mmvit data convert data/cats_yolo data/cats
    mmvit train configs/mask_rcnn_reswin_t.py --coco-folder data/cats

docs/tools.md describes the supported layouts. Images are not copied: OUT contains symbolic links to their folders.
"""
import argparse
import json
import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

import numpy as np
import yaml

from ...data.checks import find_mistakes
from ...data.folders import Account, LeftOutError
from ...data.mistakes import some, warn
from ...data.text import check_class_names, read_text
from ...errors import UsageError, first_line
from ...utils.images import SUFFIXES, image_size
from ..arguments import add_left_out_argument, output_folder

if TYPE_CHECKING:
    from supervision import DetectionDataset

# Layouts as (folder of images, folder of annotations); {} is the name of a split or empty.
YOLO = (('images/{}', 'labels/{}'), ('{}/images', '{}/labels'))
VOC = (('{}/JPEGImages', '{}/Annotations'), ('{}', '{}'))
SPLITS = (dict(train='train', val='val'), dict(train='train', val='valid'), dict(train='train'), dict(images=''))


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', type=Path,
                        help='folder with data.yaml or classes.txt (YOLO), or with XML files (Pascal VOC)')
    parser.add_argument('out', type=output_folder, help='folder to create')
    add_left_out_argument(parser)
    return parser


def find_parts(source: Path, layouts: tuple) -> dict[str, list[Path]]:
    """Returns the folders of images and annotations by split: 'train' and possibly 'val', or 'images' without splits.
    """
    for splits in SPLITS:
        for layout in layouts:
            parts = {part: [source / folder.format(name).strip('/') for folder in layout]
                     for part, name in splits.items()}
            if all(folder.is_dir() for folders in parts.values() for folder in folders):
                return parts
    expected = ' or '.join(' and '.join(folder.format('{train,val}') for folder in layout) for layout in layouts)
    raise UsageError(f'source {source} must have the folders {expected}, with or without splits')


def read_description(source: Path) -> dict | None:
    """Returns YOLO's ``data.yaml`` or ``classes.txt`` with ``names`` as a dict by class id, or None without a file."""
    files = sorted([*source.glob('*.yaml'), *source.glob('*.yml'), *source.glob('classes.txt')])
    if not files:
        return None
    text = read_text(files[0])
    content = dict(names=text.splitlines()) if files[0].suffix == '.txt' else yaml.safe_load(text)
    names = content.get('names') if isinstance(content, dict) else None
    try:
        numbered = dict(enumerate(names)) if isinstance(names, list) else names
        if not isinstance(numbered, dict):
            raise TypeError
        named = {int(number): str(name).strip() for number, name in numbered.items() if str(name).strip()}
    except (TypeError, ValueError) as error:
        raise UsageError(f'{files[0]}: names must be a list of classes or a dict by class id, got {names!r}') from error
    check_class_names(named.values(), str(files[0]))
    return {**content, 'names': named}


def read_yolo(images: Path, labels: Path, description: dict) -> 'DetectionDataset':
    from supervision import DetectionDataset
    names = description['names']
    ids = sorted(names)
    with tempfile.TemporaryDirectory() as folder:
        # supervision uses class ids as indices of this list: unused ids need an entry.
        file = Path(folder, 'data.yaml')
        file.write_text(yaml.safe_dump(dict(description, names=[names.get(i, '') for i in range(ids[-1] + 1)])))
        plain = Path(folder, 'labels')  # supervision does not support byte order marks
        plain.mkdir()
        for path in labels.glob('*.txt'):
            Path(plain, path.name).write_text(read_text(path), encoding='utf-8')
        try:
            dataset = DetectionDataset.from_yolo(str(images), str(plain), str(file))
        except ValueError as error:
            raise UsageError(first_line(error).replace(str(plain), str(labels))) from error
    if unread := sorted(set(map(str, images_in(images))) - set(dataset.image_paths)):
        raise UsageError(f'{images}: supervision does not read {some(unread)}; save these images as .jpg or .png')
    for image, detections in dataset.annotations.items():
        class_ids = np.array([] if detections.class_id is None else detections.class_id)
        if unknown := sorted(set(class_ids.tolist()) - set(ids)):
            raise UsageError(f'{labels / Path(image).stem}.txt has the class ids {unknown}, but only {ids} have names')
        detections.class_id = np.searchsorted(ids, class_ids)
    dataset.classes = [names[number] for number in ids]
    return dataset


def read_voc(images: Path, labels: Path, classes: list[str]) -> 'DetectionDataset':
    """Reads a data set in Pascal VOC format, and appends new class names to ``classes``."""
    from defusedxml.ElementTree import parse
    from supervision import DetectionDataset, Detections
    from supervision.dataset.formats.pascal_voc import detections_from_xml_obj
    annotations = {}
    for image in images_in(images):
        file = labels / f'{image.stem}.xml'
        annotations[str(image)] = Detections.empty()
        if file.is_file():
            try:
                root = parse(file).getroot()
                if root is None:
                    raise ValueError('the file is empty')
                for name in root.iter('name'):
                    name.text = (name.text or '').strip()
                size = image_size(image)
                stated = tuple(int(root.findtext(f'size/{side}') or 0) for side in ('width', 'height'))
                if any(stated) and stated != size:
                    raise UsageError(f'size is {stated[0]} x {stated[1]} pixels, but {image} has {size[0]} x '
                                     f'{size[1]} pixels (width x height)')
                annotations[str(image)], classes[:] = detections_from_xml_obj(root, classes, size)
            except (ParseError, ValueError) as error:
                raise UsageError(f'{file}: {error}') from error
    return DetectionDataset(classes, list(annotations), annotations)


def divide(source: Path, dataset: 'DetectionDataset') -> dict[str, 'DetectionDataset']:
    """Returns the data set split by the lists in ``ImageSets/Main``, or as 'images' unless both lists exist."""
    from supervision import DetectionDataset
    lists = {part: source / 'ImageSets' / 'Main' / f'{part}.txt' for part in ('train', 'val')}
    if not all(file.is_file() for file in lists.values()):
        return dict(images=dataset)
    paths, datasets = {Path(path).stem: path for path in dataset.image_paths}, {}
    for part, file in lists.items():
        stems = [line.strip() for line in read_text(file).splitlines() if line.strip()]
        if missing := [stem for stem in stems if stem not in paths]:
            raise UsageError(f'{file} lists {missing[0]}, but there is no image of this name')
        chosen = {paths[stem]: dataset.annotations[paths[stem]] for stem in stems}
        datasets[part] = DetectionDataset(dataset.classes, list(chosen), chosen)
    return datasets


def images_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def check_files(images: Path, labels: Path, suffix: str, allow_left_out: bool) -> None:
    """Raises UsageError if no image has annotations, or too many files are left out; warns about the other mismatches.
    """
    account, annotations = Account(str(images)), [path for path in labels.iterdir() if path.suffix == suffix]
    for path in sorted(set(images.iterdir()) - set(annotations)):
        account.add(path.name, path.is_file())
    with_image, files = {path.stem for path in images_in(images)}, {path.stem for path in annotations} - {'classes'}
    if not with_image & files:
        hint = '; YOLO data need data.yaml or classes.txt' if suffix == '.xml' else ''
        raise UsageError(f'no image in {images} has a file NAME{suffix} in {labels}{hint}')
    account.report(allow_left_out)
    for stems, folder, problem in (
            (with_image - files, images, f'images have no NAME{suffix} and are treated as images without objects'),
            (files - with_image, labels, 'annotation files have no image and are not used')):
        if stems:
            warn(f'{folder}: {len(stems)} {problem}, e.g. {min(stems)}')


def read_source(source: Path, allow_left_out: bool) -> tuple[dict[str, 'DetectionDataset'], dict[str, Path]]:
    """Returns the data sets and the image folders by split."""
    if not source.is_dir():
        raise UsageError(f'source {source} is not a folder')
    description, classes = read_description(source), []
    parts = find_parts(source, YOLO if description else VOC)
    for images, labels in parts.values():
        check_files(images, labels, '.txt' if description else '.xml', allow_left_out)
    if description:
        datasets = {part: read_yolo(images, labels, description) for part, (images, labels) in parts.items()}
    else:
        datasets = {part: read_voc(images, labels, classes) for part, (images, labels) in parts.items()}
        datasets = divide(source, datasets['images']) if 'images' in datasets else datasets
        for dataset in datasets.values():
            dataset.classes = classes
        check_class_names(classes, str(source))
    folders = {part: images for part, (images, _) in parts.items()}
    return datasets, {part: folders.get(part) or folders['images'] for part in datasets}


def write_coco(dataset: 'DetectionDataset', file: Path) -> None:
    """Writes a COCO file without the license and the crowd flags on multi-part polygons that supervision adds."""
    for detections in dataset.annotations.values():
        detections.data['iscrowd'] = np.zeros(len(detections), dtype=int)
    dataset.as_coco(annotations_path=str(file))
    content = json.loads(file.read_text(encoding='utf-8'))
    content.update(licenses=[], images=[{key: image[key] for key in ('id', 'file_name', 'height', 'width')}
                                        for image in content['images']])
    boxes = [annotation for annotation in content['annotations'] if not annotation['segmentation']]
    if 0 < len(boxes) < len(content['annotations']):
        warn(f'{file}: {len(boxes)} of {len(content["annotations"])} objects have no polygon; their boxes are used '
             'instead')
        for annotation in boxes:
            x, y, width, height = annotation['bbox']
            annotation['segmentation'] = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    file.write_text(json.dumps(content), encoding='utf-8')


def main(args: argparse.Namespace) -> None:
    if find_spec('supervision') is None:
        raise UsageError('supervision is not installed: pip install supervision')
    out = Path(args.out)
    if os.path.lexists(out):
        raise UsageError(f'out {out} already exists; pass another folder')
    try:
        datasets, folders = read_source(args.source, args.allow_left_out)
    except LeftOutError as error:
        raise UsageError(f'{error}; pass --allow-left-out to continue without them') from error
    except UsageError:
        raise
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f'source {args.source} cannot be converted: {first_line(error)}') from error
    for part, dataset in datasets.items():
        name = 'instances.json' if part == 'images' else f'instances_{part}.json'
        file = out / 'annotations' / name
        write_coco(dataset, file)
        (out / part).symlink_to(folders[part].resolve(), target_is_directory=True)
        mistakes = find_mistakes(dict(type='CocoDataset', data_root=str(out), ann_file=str(Path(
            'annotations', name)), data_prefix=dict(img=part)))
        for mistake in mistakes:
            print(f'{"error" if mistake.is_error else "warning"}: {mistake.text}', file=sys.stderr)
        print(f'{file}: {len(dataset.image_paths)} images, {len(dataset.classes)} classes, '
              f'{sum(map(len, dataset.annotations.values()))} objects')
        if any(mistake.is_error for mistake in mistakes):
            sys.exit(1)
