"""Finds the images in the folders of a custom data set, and counts the files that are left out."""
import os
import os.path as osp
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import UsageError
from ..utils.distributed import is_first_process
from ..utils.images import SUFFIXES
from .mistakes import warn
from .text import check_class_names

SYSTEM_FILES = ('thumbs.db', 'desktop.ini')  # hidden on Windows


@dataclass
class Split:
    """Splits a folder's images by the subfolders ``train/`` and ``val/`` or, with ``val_fraction``, at random."""

    val_fraction: float | None = None
    seed: int = 0

    def find_parts(self, folder: str) -> dict[str, str]:
        """Returns the subfolders for training and validation; for a random split, both are the same.

        Raises:
            UsageError: If ``val_fraction`` is given, but there is a folder ``val/``.
        """
        if self.val_fraction is None:
            return dict(train='train', val='val')
        if osp.exists(validation := osp.join(folder, 'val')):
            raise UsageError(f'--val-fraction requires images without a split, but {validation} exists')
        whole = 'train' if osp.isdir(osp.join(folder, 'train')) else ''
        return dict(train=whole, val=whole)

    def divide(self, items: list) -> tuple[list, list]:
        """Returns the items for training and the items for validation, split at random with the seed.

        Raises:
            ValueError: If ``val_fraction`` is None.
        """
        if self.val_fraction is None:
            raise ValueError('val_fraction must be given for a random split')
        number = max(0, min(max(1, round(self.val_fraction * len(items))), len(items) - 1))
        chosen = set(random.Random(self.seed).sample(range(len(items)), number))
        return ([item for i, item in enumerate(items) if i not in chosen],
                [item for i, item in enumerate(items) if i in chosen])


def is_hidden(name: str) -> bool:
    base = osp.basename(name).lower()
    return base.startswith('.') or base in SYSTEM_FILES


def find_images(root: str, left: Counter) -> list[str]:
    """Returns the sorted paths of the images at any depth of a folder, relative to the folder; follows links.

    Counts other files in ``left`` by their suffix, except hidden files.

    Raises:
        UsageError: If a folder cannot be read.
    """
    found, visited = [], set()
    for path, folders, names in os.walk(root, onerror=_refuse, followlinks=True):
        place = osp.realpath(path)
        if place in visited:  # a link to a folder above, or a second link
            folders.clear()
            continue
        visited.add(place)
        folders[:] = [name for name in folders if not is_hidden(name)]
        for name in names:
            if is_hidden(name):
                continue
            if not osp.isfile(osp.join(path, name)):
                left['broken links'] += 1
            elif name.lower().endswith(SUFFIXES):
                found.append(osp.relpath(osp.join(path, name), root))
            else:
                left[osp.splitext(name)[1].lower() or 'without suffix'] += 1
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise UsageError(f'{error.filename} cannot be read: {error.strerror}') from error


def _report(place: str, taken: int, left: Counter) -> None:
    """Prints the number of images, as a warning if files are left out."""
    if total := left.total():
        reasons = ', '.join(f'{number} {reason}' for reason, number in left.most_common())
        warn(f'{place}: {total} of {total + taken} files left out: {reasons}')
    elif is_first_process():
        print(f'{place}: {taken} files found, all taken')


def find_classes(folder: str, part: str) -> list[str]:
    """Returns the sorted names of the class folders in the subfolder ``part`` of a data set's folder.

    Raises:
        UsageError: If there is no class folder, names differ only by case or spaces, or the subfolder cannot be read.
    """
    root = osp.join(folder, part)
    names = []
    if osp.isdir(root):
        names = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not is_hidden(entry.name))
    if not names:
        raise UsageError(f'there is no folder {osp.join(part, "CLASS", "")}; expected train/CLASS/ and val/CLASS/, or '
                         'CLASS/ with --val-fraction')
    check_class_names(names, root)
    return names


def refuse_others(classes: tuple[str, ...], of_val: set[str]) -> None:
    """Raises UsageError if the validation data have classes that the training data lack."""
    if others := of_val - set(classes):
        raise UsageError(f'the validation data have the classes {sorted(others)}, which the training data lack; the '
                         f'training data have {sorted(classes)}')


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
        found[part] = {name.strip(): [osp.join(name, image) for image in find_images(osp.join(root, name), left)]
                       for name in find_classes(folder, part)}
        left['in no class folder'] = sum(entry.name.lower().endswith(SUFFIXES) and not is_hidden(entry.name)
                                         for entry in os.scandir(root) if entry.is_file())
        _report(osp.join(root, ''), sum(map(len, found[part].values())), +left)
    return found


def seg_images(folder: str, part: str) -> dict[str, str]:
    """Returns the images in ``images/<part>`` of a data set's folder, with the paths of their masks.

    Raises:
        UsageError: If there are no images, a mask is missing, suffixes of images differ, or a folder cannot be read.
    """
    root, left = osp.join(folder, 'images', part), Counter()
    images = find_images(root, left) if osp.isdir(root) else []
    if not images:
        raise UsageError(f'{root} has no images; expected images/{{train,val}}/ and masks/{{train,val}}/, or '
                         'images/ and masks/ with --val-fraction')
    _report(osp.join(root, ''), len(images), left)
    suffixes = {osp.splitext(image)[1] for image in images}
    if len(suffixes) > 1:
        raise UsageError(f'all images in {root} must have the same suffix, got {sorted(suffixes)}')
    masks = {image: osp.join(folder, 'masks', part, f'{osp.splitext(image)[0]}.png') for image in images}
    if missing := [image for image, mask in masks.items() if not osp.isfile(mask)]:
        raise UsageError(f'{osp.join(root, missing[0])} has no mask {masks[missing[0]]}')
    return masks
