"""Reads the images of a classifier from a folder with a subfolder per class."""
import os
import os.path as osp
from collections import Counter
from collections.abc import Iterable, Sequence

from mmvit_backbones.errors import UsageError

from ..utils.images import SUFFIXES, images_in, is_hidden
from .folders import (
    FolderData,
    Split,
    check_images,
    composed,
    listed,
    output_folder,
    refuse_others,
    report_files,
    seen_from,
    write,
)
from .problems import warn
from .text import check_class_names

LAYOUT = 'train/CLASS/ and val/CLASS/; or, with --val-fraction 0.1, train/CLASS/ or CLASS/ alone'


def read_class_folder(folder: str | os.PathLike, *, val_fraction: float | None = None, split_seed: int = 0,
                      out: str | os.PathLike | None = None, classes: Sequence[str] | None = None,
                      check_files: bool = True) -> FolderData:
    """Returns the data sets of a classifier from the images in ``train/CLASS/`` and ``val/CLASS/``.

    Prints the numbers of files that are used and left out.

    Args:
        val_fraction (float | None): Fraction of the images of each class for validation, which are then in ``CLASS/``
            or ``train/CLASS/``. Defaults to None: the images in ``val/``.
        classes (Sequence[str] | None): Classes of a training. Defaults to None: the names of the folders, sorted.
        folder, split_seed, out, check_files: As in :func:`read_coco_folder`.

    Raises:
        UsageError: If the folder has another layout, a class without training images, no validation images or other
            classes in ``val/``, or an image cannot be read.
    """
    folder, split = os.fspath(folder), Split(val_fraction, split_seed)
    prefixes = split.find_parts(folder, LAYOUT, is_test=classes is not None)
    found = class_images(folder, prefixes.values())
    images = {part: dict(found[prefix]) for part, prefix in prefixes.items()}
    if classes is None:
        classes = tuple(images['train'])
        if empty := [name for name in classes if not images['train'][name]]:
            raise UsageError(f'{osp.join(prefixes["train"], empty[0], "")} has no images; every class must have some')
    if val_fraction is not None:
        for name in images['train']:
            images['train'][name], images['val'][name] = split.divide(images['train'][name])
    of_val = {name for name, files in images['val'].items() if files}
    if not of_val:
        reason = '' if val_fraction is None else ': every class has a single image, which cannot be split'
        raise UsageError(f'there are no validation images{reason}')
    refuse_others(classes, of_val)
    if missing := sorted(set(classes) - of_val):
        warn(f'{folder}: there are no validation images of the classes {missing}')
    if check_files:
        check_images(osp.join(folder, prefix, file) for prefix, of_class in found.items()
                     for files in of_class.values() for file in files)
    out, datasets, numbers = output_folder(out), {}, {}
    for part, of_class in images.items():
        lines = [f'{listed(file)} {label}\n' for label, name in enumerate(classes) for file in of_class.get(name, ())]
        numbers[part] = len(lines)
        datasets[part] = dict(type='CustomDataset', data_root=folder, data_prefix=prefixes[part],
                              ann_file=seen_from(folder, write(out, f'{part}.txt', ''.join(lines))),
                              metainfo=dict(classes=tuple(classes)))
    return FolderData(datasets.get('train', {}), datasets['val'], tuple(classes), numbers.get('train', 0),
                      numbers['val'])


def find_classes(folder: str, part: str) -> list[str]:
    """Returns the sorted names of the class folders in the subfolder ``part`` of a data set's folder.

    Raises:
        UsageError: If there is no class folder, names differ only by case, spaces or Unicode form, or the subfolder
            cannot be read.
    """
    root = osp.join(folder, part)
    names = []
    if osp.isdir(root):
        names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not is_hidden(entry.name))
    if not names:
        raise UsageError(f'there is no folder {osp.join(part, "CLASS", "")}; expected {LAYOUT}')
    check_class_names(names, root)
    return names


def class_images(folder: str, parts: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """Returns the images of each class in the subfolders ``parts`` of a data set's folder.

    Returns:
        dict[str, dict[str, list[str]]]: ``{part: {class: paths of the images relative to part}}``.

    Raises:
        UsageError: If a subfolder has no class folders, the name of a class is invalid, or a folder cannot be read.
    """
    found = {}
    for part in dict.fromkeys(parts):
        root, left = osp.join(folder, part), Counter()
        found[part] = {composed(name.strip()): [osp.join(name, image) for image in
                                                images_in(osp.join(root, name), left)]
                       for name in find_classes(folder, part)}
        left['in no class folder'] = sum(entry.name.lower().endswith(SUFFIXES) and not is_hidden(entry.name)
                                         for entry in os.scandir(root) if entry.is_file())
        report_files(osp.join(root, ''), sum(map(len, found[part].values())), +left)
    return found
