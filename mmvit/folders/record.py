"""Records what is in a folder when a training starts, and says what has changed since.

A record has names relative to the folder, the sizes of images and masks, the contents of annotation files, and the
classes. It has no times and no places, so that a folder may be moved or copied.
"""
import hashlib
import json
import os.path as osp
from collections.abc import Iterable
from pathlib import Path, PurePath

from mmengine.config import Config

from mmvit_backbones.errors import UsageError

from ..configs.files import datasets_of, own_lists
from ..utils.images import images_in
from .class_lists import read_class_list
from .folders import FolderData, write

RECORD = 'folder.json'
# Files besides images and masks that a training reads, by the argument of the folder.
ANNOTATIONS = dict(
    class_folder=(), seg_folder=('classes.txt', ),
    coco_folder=('annotations/instances.json', 'annotations/instances_train.json', 'annotations/instances_val.json'))


def write_record(out: str, argument: str, folder: str, data: FolderData) -> None:
    """Writes the record of a folder that was passed as 'class_folder', 'coco_folder' or 'seg_folder' to ``out``."""
    places = [part['data_prefix'] for part in (data.train, data.val)]
    roots = sorted({PurePath(root).as_posix() for place in places
                    for root in (place.values() if isinstance(place, dict) else [place])})
    names = ([osp.relpath(raster.image, folder) for part in data.rasters.values() for raster in part]
             if argument == 'coco_folder' else names_in(argument, folder, roots))
    images = sizes_of(folder, names)
    write(out, RECORD, json.dumps(dict(
        argument=argument, roots=roots, images=images,
        classes=class_folders(images, roots) if argument == 'class_folder' else data.classes,
        annotations={name: digest_of(osp.join(folder, name)) for name in ANNOTATIONS[argument]})))


def folder_of(cfg: Config) -> str:
    """Returns the folder of the data of a recipe."""
    return datasets_of(cfg, 'train')[0].get('data_root') or ''


def found_changes(cfg: Config, folder: str) -> list[str] | None:
    """Returns what differs between a folder and that of a recipe; None without a record or a folder."""
    places = own_lists(str(cfg.filename)), cfg.recipe.get('out') or ''
    place = next((place for place in places if osp.isfile(osp.join(place, RECORD))), None)
    return changes(place, folder) if place and osp.isdir(folder) else None


def changes(place: str, folder: str) -> list[str]:
    """Returns what differs between a folder and the record in ``place``; empty if the folder is the same.

    Raises:
        UsageError: If the record cannot be read.
    """
    file = Path(place, RECORD)
    try:
        record = json.loads(file.read_text(encoding='utf-8'))
        argument, before, classes = record['argument'], record['images'], {*record['classes']}
        roots, annotations = record['roots'], record['annotations']
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f'{file} cannot be read as the record of a folder: {error}') from error
    found = [f'{name} was changed' for name, digest in annotations.items()
             if digest_of(osp.join(folder, name)) != digest]
    now = sizes_of(folder, before if argument == 'coco_folder' else names_in(argument, folder, roots))
    if argument == 'class_folder':
        present = {*class_folders(now, roots)}
    else:
        present = annotated_classes(folder, annotations, classes) if found else classes
    gone = {name for name in before if now.get(name) is None and before[name] is not None}
    other = {name for name in before if now.get(name) not in (None, before[name])}
    return [*found, *said(present - classes, 'class', 'classes', 'added'),
            *said(classes - present, 'class', 'classes', 'removed'),
            *said(now.keys() - before.keys(), 'image', 'images', 'added'), *said(gone, 'image', 'images', 'removed'),
            *said(other, 'image', 'images', 'replaced')]


def said(names: Iterable[str], one: str, many: str, done: str) -> list[str]:
    """Returns what was done to some images or classes, with the first names; empty if there are none."""
    names = sorted(names)
    shown = ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')
    number = f'1 {one} was' if len(names) == 1 else f'{len(names)} {many} were'
    return [f'{number} {done} ({shown})'] if names else []


def names_in(argument: str, folder: str, roots: list[str]) -> list[str]:
    """Returns the images and masks in subfolders of a folder, relative to it; of a classifier, those of a class."""
    return [osp.normpath(osp.join(root, name)) for root in roots for name in images_in(osp.join(folder, root))
            if argument != 'class_folder' or osp.dirname(name)]


def sizes_of(folder: str, names: Iterable[str]) -> dict[str, int | None]:
    """Returns the bytes of each file, by its name with slashes; None for a file that is missing."""
    paths = {PurePath(name).as_posix(): osp.join(folder, name) for name in names}
    return {name: osp.getsize(path) if osp.isfile(path) else None for name, path in paths.items()}


def digest_of(path: str) -> str | None:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if osp.isfile(path) else None


def class_folders(names: Iterable[str], roots: list[str]) -> list[str]:
    """Returns the folders of classes in which images are."""
    below = [PurePath(name).relative_to(root) for name in names for root in roots
             if root == '.' or name.startswith(f'{root}/')]
    return sorted({path.parts[0] for path in below})


def annotated_classes(folder: str, annotations: Iterable[str], known: set[str]) -> set[str]:
    """Returns the classes that annotation files name; the known ones if a file cannot be read."""
    found: set[str] = set()
    try:
        for name in annotations:
            path = Path(folder, name)
            if name == 'classes.txt':
                found |= {*read_class_list(path)}
            elif path.is_file():
                content = json.loads(path.read_text(encoding='utf-8-sig'))
                found |= {category['name'] for category in content['categories']}
    except (OSError, ValueError, KeyError, TypeError, UsageError):
        return known
    return found
