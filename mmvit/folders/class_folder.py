"""Reads the images of a classifier from a folder with a subfolder per class."""
import os
import os.path as osp
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mmvit_backbones.errors import UsageError

from .class_lists import check_class_names
from .folders import FolderData, Split, format_name, relate_to, report_files, write_file
from .images import SUFFIXES, images_in, is_hidden
from .rasters import Raster
from .rules import ADD_SOME, RARELY, Rule, apply, rare, suspicion

LAYOUT = ('train/CLASS/ and val/CLASS/; for a training also, with val_fraction=0.1 (--val-fraction 0.1), train/CLASS/ '
          'or CLASS/ alone')


@dataclass
class ClassFolder:
    """The classes of a training, and the images of the folders' classes."""

    classes: Sequence[str]
    train: dict[str, list[str]]
    val: dict[str, list[str]]

    @property
    def of_val(self) -> list[str]:
        """Returns the classes that have validation images."""
        return [name for name, files in self.val.items() if files]


def _with(number: int, part: str) -> Callable[[ClassFolder], list[int]]:
    """Returns a function that finds the classes with a number of images in a part."""
    return lambda data: [i for i, name in enumerate(data.classes) if len(getattr(data, part).get(name, ())) == number]


def _rare(data: ClassFolder) -> list[int]:
    counts = {name: len(files) for name, files in data.train.items()}
    return rare(counts, counts, data.classes)


# A comment says what happens without the rule in mmpretrain.
CLASS_RULES = [
    # loss 0 and an accuracy of 100 %
    Rule('a single class', 'classes', lambda data: [0] if len(data.classes) == 1 else [],
         'a classifier needs at least two classes, got {ids} alone; are the folders of the classes in it?',
         evaluation=''),
    # the class is never predicted
    Rule('classes without training images', 'classes', _with(0, 'train'),
         'the classes {ids} have no training images; every class must have some', evaluation=''),
    # a traceback after the first epoch
    Rule('no validation images', 'classes', lambda data: range(0 if data.of_val else len(data.classes)),
         'there are no validation images; to split them at random, a class needs at least two different '
         'images'),
    # they are left out of the accuracy
    Rule('validation images of classes that the training lacks', 'of_val',
         lambda data: [i for i, name in enumerate(data.of_val) if name not in data.classes],
         'the validation data have the classes {ids}, which the training lacks; it has {data.classes}'),
    # the accuracy is one of fewer classes
    suspicion('classes without validation images', 'classes',
              lambda data: _with(0, 'val')(data) if data.of_val else [],
              'there are no validation images of the classes {ids}', None),
    # the class is hardly ever predicted
    Rule(f'classes {RARELY}', 'classes', _rare, f'{{count}} of {{total}} classes {ADD_SOME}', 'warning', ''),
]


def read_class_folder(folder: str, split: Split, out: str, classes: Sequence[str] | None) -> FolderData:
    """Returns the data sets of a classifier from the images in ``train/CLASS/`` and ``val/CLASS/``.

    Prints the numbers of files that are used and left out.

    Args:
        folder (str): The folder.
        split (Split): At random, it is that of each class, whose images are in ``CLASS/`` or ``train/CLASS/``.
        out (str): Folder for lists of images.
        classes (Sequence[str] | None): Classes of a training; None for the names of the folders, sorted.

    Raises:
        UsageError: If the folder has another layout, or cannot be read.
    """
    is_test = classes is not None
    prefixes = split.find_parts(folder, LAYOUT, is_test)
    if not is_test:
        split.check_others(folder, prefixes.values())
    found = class_images(folder, prefixes.values())
    images = {part: dict(found[prefix]) for part, prefix in prefixes.items()}
    classes = tuple(images['train'] if classes is None else classes)
    if split.val_fraction is not None:
        chosen = split.choose(osp.join(folder, prefixes['train']), images['train'].values())
        for name, files in found[prefixes['train']].items():
            images['val'][name] = [file for file in files if file in chosen]
            images['train'][name] = [file for file in files if file not in chosen]
    problems = apply(CLASS_RULES, ClassFolder(classes, images.get('train', {}), images['val']), is_test, place=folder)
    datasets, rasters = {}, {}
    for part, of_class in images.items():
        named = [(file, label) for label, name in enumerate(classes) for file in of_class.get(name, ())]
        lines = [f'{format_name(file)} {label}\n' for file, label in named]
        rasters[part] = [Raster(osp.join(folder, prefixes[part], file)) for file, _ in named]
        datasets[part] = dict(type='CustomDataset', data_root=folder, data_prefix=prefixes[part],
                              ann_file=relate_to(folder, write_file(out, f'{part}.txt', ''.join(lines))),
                              metainfo=dict(classes=classes))
    return FolderData(datasets.get('train', {}), datasets['val'], classes, rasters, tuple(problems))


def class_images(folder: str, parts: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """Returns the images of each class in the subfolders ``parts`` of a data set's folder.

    Returns:
        dict[str, dict[str, list[str]]]: ``{part: {class: paths of the images relative to part}}``; classes are sorted.

    Raises:
        UsageError: If a subfolder has no class folders, names of classes are invalid, or a folder cannot be read.
    """
    found = {}
    for part in dict.fromkeys(parts):
        root, left = osp.join(folder, part), Counter()
        entries = [entry for entry in os.scandir(root) if not is_hidden(entry.name)] if osp.isdir(root) else []
        names = sorted(entry.name for entry in entries if entry.is_dir())
        if not names:
            raise UsageError(f'there is no folder {osp.join(root, "CLASS", "")}; expected {LAYOUT}')
        check_class_names(names, root)
        found[part] = {name: [osp.join(name, image) for image in images_in(osp.join(root, name), left)]
                       for name in names}
        left['in no class folder'] = sum(entry.name.lower().endswith(SUFFIXES) for entry in entries if entry.is_file())
        report_files(osp.join(root, ''), sum(map(len, found[part].values())), +left)
    return found
