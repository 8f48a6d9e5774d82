"""Results, splits and written files of all readers of data folders."""
import atexit
import os
import os.path as osp
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.file_access import replaced_when_complete

from ..utils.distributed import is_first_process, warn
from .copies import originals_of, shared_images
from .images import images_in, is_hidden
from .rasters import Raster, Rasters, raster_problems, read_all, sample_of, seen_in
from .rules import Problem, raise_or_warn

FEW = 10  # images of a validation, of which one is worth more points than trainings differ by
MOVES = 50  # per class, in the search for a split


@dataclass(frozen=True)
class FolderData:
    """The data sets of a folder.

    Args:
        train, val (dict): Configs of the data sets without pipelines. ``train`` is empty if a folder was read with the
            classes of a training.
        classes (tuple[str, ...]): Names of the classes, by label.
        rasters (dict[str, list[Raster]]): The images and masks of 'train' and 'val'.
        problems (tuple[Problem, ...]): What is wrong with names and annotations.
        annotations (tuple[str, ...]): The files with annotations or names of classes.
        has_masks (bool): Whether all objects of a detector's data have masks. Defaults to False.
        val_file (str): COCO file of the validation images, which an evaluation reads. Defaults to none.
        most_objects (int): The most objects in an image of a detector's data. Defaults to 0.
    """

    train: dict
    val: dict
    classes: tuple[str, ...]
    rasters: dict[str, list[Raster]]
    problems: tuple[Problem, ...] = ()
    annotations: tuple[str, ...] = ()
    has_masks: bool = False
    val_file: str = ''
    most_objects: int = 0

    def count(self, part: str) -> int:
        """Returns the number of images in 'train' or 'val'."""
        return len(self.rasters.get(part, ()))

    def count_pixels(self) -> list[int]:
        """Returns the numbers of pixels of each class in up to 100 training masks."""
        pixels = Rasters(read_all(seen_in, sample_of(self.rasters['train']))).pixels
        return [pixels[label] for label in range(len(self.classes))]

    def check(self, reads_files: bool = True) -> None:
        """Prints warnings; with ``reads_files`` also of all images and masks, in some 0.1 ms for each JPEG file.

        Raises:
            UsageError: If names or annotations have errors, or images or masks cannot be used.
        """
        raise_or_warn(self.problems)
        raise_or_warn(self.problems_of_files() if reads_files else ())

    def problems_of_files(self, parts: Collection[str] = ('train', 'val'), is_full: bool = False) -> list[Problem]:
        """Returns the problems in the images and masks of parts; ``is_full`` as for :func:`raster_problems`.

        An image that is in both is an error with ``is_full``, else a warning.
        """
        chosen = {part: rasters for part, rasters in self.rasters.items() if part in parts}
        few = []
        if 'val' in parts and 0 < (number := self.count('val')) < FEW:
            few.append(Problem(f'there are {number} validation images: each is worth about {100 / number:.3g} points '
                               'of the figures', is_error=False))
        return [*(problem for part, rasters in chosen.items()
                  for problem in raster_problems(rasters, part == 'val', self.classes, is_full)),
                *few, *shared_images(chosen.get('train', ()), chosen.get('val', ()), is_full)]


@dataclass(frozen=True)
class Split:
    """Splits a folder's images by the subfolders ``train/`` and ``val/`` or, with ``val_fraction``, at random.

    Raises:
        UsageError: If there is a seed without ``val_fraction``.
    """

    val_fraction: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.val_fraction is None and self.seed:
            raise UsageError('split_seed (--split-seed) needs val_fraction (--val-fraction), got '
                             f'{self.seed} without it')

    def find_parts(self, folder: str, layout: str, is_test: bool = False) -> dict[str, str]:
        """Returns the subfolders for training and validation; for a random split, both are the same.

        Args:
            folder (str): Folder with the subfolders.
            layout (str): Expected content of the data set's folder, for the error message.
            is_test (bool): Whether only the validation images are of use. Defaults to False.

        Raises:
            UsageError: If ``val_fraction`` is given, but there is a folder ``val/``, or the other way around.
        """
        validation = osp.join(folder, 'val')
        if self.val_fraction is None:
            if not osp.isdir(validation):
                other = osp.join(folder, 'valid')
                raise UsageError(f'there is no folder {osp.join(validation, "")}; '
                                 + (f'rename {other}' if osp.isdir(other) else f'expected {layout}'))
            return dict(val='val') if is_test else dict(train='train', val='val')
        if osp.exists(validation):
            raise UsageError('val_fraction (--val-fraction) requires images without a split, but there is a folder '
                             f'{validation}; rename it if it is a class')
        whole = 'train' if osp.isdir(osp.join(folder, 'train')) else ''
        return dict(train=whole, val=whole)

    def check_others(self, folder: str, parts: Collection[str]) -> None:
        """Says which folders with images beside those of the parts are not used.

        Raises:
            UsageError: If it was guessed from the name of a folder that others beside it are no part.
        """
        if '' in parts or not osp.isdir(folder):
            return
        others = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not is_hidden(entry.name)
                        and entry.name not in parts and images_in(entry.path))
        text = f'{osp.join(folder, "")}: the images in {", ".join(others[:3])} are not used, only those in '
        text += ' and '.join(dict.fromkeys(parts))
        if self.val_fraction is not None and others not in ([], ['test']):
            raise UsageError(f'{text}; rename train if it is a class, or move all classes into train')
        if others and (self.val_fraction is not None or others != ['test']):
            warn(text)

    def choose(self, folder: str, groups: Collection[Collection[str]],
               labels: Mapping[str, Collection[str]] | None = None) -> set[str]:
        """Returns the images for validation, chosen at random with the seed; identical files go to the same part.

        Args:
            folder (str): Folder of the images.
            groups (Collection[Collection[str]]): Names of the images; ``val_fraction`` is that of each group.
            labels (Mapping[str, Collection[str]] | None): Classes of each image. Each class of two or more images is in
                both parts, if necessary with more or fewer images for validation. Defaults to None: unknown.

        Raises:
            UsageError: If fewer than two images have a class, or no split was found with all classes in both parts.
        """
        paths = {name: osp.join(folder, name) for group in groups for name in group}
        originals = originals_of(paths.values())
        content = {name: originals.get(path, path) for name, path in paths.items()}
        classes: dict[str, set[str]] = {}
        for name, names in (labels or {}).items():
            classes.setdefault(content[name], set()).update(names)
        chosen: set[str] = set()
        left = set(content.values())
        for group in groups:
            items = [item for item in dict.fromkeys(content[name] for name in group) if item in left]
            left.difference_update(items)
            chosen |= self._sample(items, classes)
        return {name for name, item in content.items() if item in chosen}

    def _sample(self, items: Sequence[str], classes: Mapping[str, set[str]]) -> set[str]:
        assert self.val_fraction is not None
        number = max(0, min(max(1, round(self.val_fraction * len(items))), len(items) - 1))
        generator = random.Random(self.seed)
        chosen = set(generator.sample(range(len(items)), number))
        if classes:
            groups = {'': {i for i, item in enumerate(items) if classes[item]}}  # '' is for any label
            for i, item in enumerate(items):
                for name in sorted(classes[item]):
                    groups.setdefault(name, set()).add(i)
            if len(groups['']) < 2:
                raise UsageError('val_fraction (--val-fraction) needs at least two different images with objects, got '
                                 f'{len(groups[""])} of {len(items)} images')
            _move_until_all_are_in_both(chosen, groups, generator)
        return {items[i] for i in chosen}


def _move_until_all_are_in_both(chosen: set[int], groups: dict[str, set[int]], generator: random.Random) -> None:
    """Moves items into or out of ``chosen`` until items of each class of two or more are in both parts."""
    several = {name: group for name, group in groups.items() if len(group) > 1}
    for _ in range(MOVES * len(several)):
        wrong = [name for name, group in several.items() if group.isdisjoint(chosen) or group <= chosen]
        if not wrong:
            return
        chosen ^= {generator.choice(sorted(several[generator.choice(wrong)]))}
    raise UsageError('val_fraction (--val-fraction) finds no split with all classes in both parts; divide the images '
                     'into train and val instead')


def output_folder(folder: str | os.PathLike | None) -> str:
    """Returns the folder for repaired annotation files and lists of images; for None, one that is removed at exit."""
    if folder is None:
        folder = tempfile.mkdtemp(prefix='mmvit_')
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return os.fspath(folder)


def write_file(folder: str | os.PathLike, name: str, text: str) -> str:
    """Writes a file to a folder, atomically because several processes may write it, and returns its path."""
    os.makedirs(folder, exist_ok=True)
    path = osp.join(folder, name)
    with replaced_when_complete(path) as part:
        part.write_text(text, encoding='utf-8')
    return path


def relate_to(root: str, path: str) -> str:
    """Returns a path such that OpenMMLab, which prepends ``root`` to relative paths, finds the file.

    The path is relative if both arguments are, and if ``root/..`` is not behind a link.
    """
    if not osp.isabs(root) and not osp.isabs(path):
        relative = osp.relpath(path, root)
        if osp.realpath(osp.join(root, relative)) == osp.realpath(path):
            return relative
    return osp.abspath(path)


def format_name(name: str) -> str:
    """Returns the name of a file for a list of images, whose readers strip spaces from lines.

    Raises:
        UsageError: If the name has a line break, ends with a space, or is not in UTF-8.
    """
    if '\n' in name or name != name.rstrip() or name != name.encode(errors='ignore').decode():
        raise UsageError('the name of a file must be in UTF-8, without line breaks, and without spaces at its end, got '
                         f'{name!r}; rename it')
    return osp.join('.', name) if name[:1].isspace() else name


def report_files(place: str, taken: int, left: Counter) -> None:
    """Prints the number of images, as a warning if files are left out."""
    if total := left.total():
        reasons = ', '.join(f'{number} {reason}' for reason, number in left.most_common())
        warn(f'{place}: {total} of {total + taken} files left out: {reasons}')
    elif is_first_process():
        print(f'{place}: {taken} files found, all taken')
