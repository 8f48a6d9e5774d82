"""Records what is in a folder when a training starts, and says what has changed since.

A record has names relative to the folder, and digests of images, masks, annotation files and the lists that were
written, all of whole files. It has no times and no places, so that a folder may be moved or copied.
"""
import json
import os.path as osp
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path, PurePath

from mmvit_backbones.errors import UsageError

from .folders import FolderData, write_file
from .images import digest_at, images_in
from .rasters import read_all

RECORD = 'folder.json'
VERSION = 2  # in 1, which records do not name, digests of JPEG files are of their ends


def write_record(out: str, argument: str, folder: str, data: FolderData) -> None:
    """Writes the record of a folder that was passed as 'class_folder', 'coco_folder' or 'seg_folder' to ``out``."""
    places = [part['data_prefix'] for part in (data.train, data.val)]
    roots = sorted({PurePath(root).as_posix() for place in places
                    for root in (place.values() if isinstance(place, dict) else [place])})
    names = ([osp.relpath(raster.image, folder) for part in data.rasters.values() for raster in part]
             if argument == 'coco_folder' else names_in(argument, folder, roots))
    lists = [osp.normpath(osp.join(folder, part['ann_file'])) for part in (data.train, data.val)]
    write_file(out, RECORD, json.dumps(dict(
        version=VERSION, argument=argument, roots=roots,
        counts=dict(training=data.count('train'), validation=data.count('val')), images=digests_of(folder, names),
        annotations={PurePath(osp.relpath(path, folder)).as_posix(): digest_at(path) for path in data.annotations},
        lists={osp.basename(path): digest_at(path) for path in lists
               if osp.realpath(osp.dirname(path)) == osp.realpath(out)})))


def read_counts(place: str) -> dict[str, int]:
    """Returns the numbers of 'training' and 'validation' images in the record in ``place``; empty without one."""
    file = Path(place, RECORD)
    return json.loads(file.read_text(encoding='utf-8')).get('counts', {}) if file.is_file() else {}


def find_changes(place: str, folder: str) -> list[str]:
    """Returns what differs between a folder and the record in ``place``; empty if the folder is the same.

    Raises:
        UsageError: If the record cannot be read.
    """
    file = Path(place, RECORD)
    try:
        record = json.loads(file.read_text(encoding='utf-8'))
        argument, before, roots = record['argument'], record['images'], record['roots']
        annotations, lists = record['annotations'], record['lists']
        digest_of = partial(digest_at, of_ends=record.get('version', 1) < VERSION)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f'{file} cannot be read as the record of a folder: {error}') from error
    found = [f'{name} was changed' for root, recorded in ((folder, annotations), (place, lists))
             for name, digest in recorded.items() if digest_of(osp.join(root, name)) != digest]
    now = digests_of(folder, before if argument == 'coco_folder' else names_in(argument, folder, roots), digest_of)
    gone = {name for name in before if now.get(name) is None and before[name] is not None}
    other = {name for name in before if now.get(name) not in (None, before[name])}
    return [*found, *name_files(now.keys() - before.keys(), 'added'), *name_files(gone, 'removed'),
            *name_files(other, 'replaced')]


def name_files(names: Iterable[str], done: str) -> list[str]:
    """Returns what was done to some images, with the first names; empty if there are none."""
    names = sorted(names)
    shown = ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')
    number = '1 image was' if len(names) == 1 else f'{len(names)} images were'
    return [f'{number} {done} ({shown})'] if names else []


def names_in(argument: str, folder: str, roots: list[str]) -> list[str]:
    """Returns the images and masks in subfolders of a folder, relative to it; of a classifier, those of a class."""
    there = [root for root in roots if osp.isdir(osp.join(folder, root))]  # a test needs no training images
    return [osp.normpath(osp.join(root, name)) for root in there for name in images_in(osp.join(folder, root))
            if argument != 'class_folder' or osp.dirname(name)]


def digests_of(folder: str, names: Iterable[str], digest_of: Callable[[str], str | None] = digest_at
               ) -> dict[str, str | None]:
    """Returns the digest of each file in a folder, by its name with slashes; None for a file that is missing."""
    names = [PurePath(name).as_posix() for name in names]
    return dict(zip(names, read_all(lambda name: digest_of(osp.join(folder, name)), names)))
