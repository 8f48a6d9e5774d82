"""Finds the images in the folders of a custom data set, and counts the files that are left out."""
import os
import os.path as osp
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import UsageError
from ..utils.distributed import is_first_process
from ..utils.images import SUFFIXES
from .mistakes import warn
from .text import check_class_names, check_listable

MAX_LEFT_OUT = 0.01  # fraction of a folder's files
SYSTEM_FILES = ('thumbs.db', 'desktop.ini')  # hidden on Windows
OUTSIDE = 'links to folders outside the data set'


class LeftOutError(UsageError):
    """Raised if too many files of a folder, or a linked folder outside the data set, would be left out."""


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


@dataclass
class Account:
    """Counts the files of a folder: how many are taken, hidden, or left out for each reason."""

    place: str
    taken: int = 0
    left: Counter = field(default_factory=Counter)
    hidden: int = 0

    def add(self, name: str, is_file: bool = True) -> bool:
        """Counts a file; returns whether the file is an image to take."""
        if is_hidden(name):
            self.hidden += 1
        elif not is_file:  # e.g. a pipe
            self.left['not regular files'] += 1
        elif not name.lower().endswith(SUFFIXES):
            self.left[osp.splitext(name)[1].lower() or 'without suffix'] += 1
        else:
            self.taken += 1
            return True
        return False

    def __str__(self) -> str:
        left, hidden = self.left.total(), f'; {self.hidden} hidden' if self.hidden else ''
        if not left:
            return f'{self.place}: {self.taken} files found, all taken{hidden}'
        reasons = ', '.join(f'{number} {reason}' for reason, number in self.left.most_common())
        return f'{self.place}: {left} of {left + self.taken} files left out: {reasons}{hidden}'

    def report(self, allow_left_out: bool) -> None:
        """Prints the counts, as a warning if files are left out.

        Raises:
            LeftOutError: If more than one in a hundred files, or a linked folder outside the data set, would be left
                out, unless ``allow_left_out`` is True.
        """
        left = self.left.total()
        is_much = left > MAX_LEFT_OUT * (left + self.taken) or self.left[OUTSIDE]
        if is_much and not allow_left_out:
            raise LeftOutError(f'{self}; at most one in a hundred files, and no {OUTSIDE}, may be left out')
        if left:
            warn(str(self))
        elif is_first_process():
            print(self)


def is_hidden(name: str) -> bool:
    base = osp.basename(name).lower()
    return base.startswith('.') or base in SYSTEM_FILES


class Link(NamedTuple):
    """A symbolic link: its path relative to the searched folder, and the path of its target."""

    name: str
    target: str


class Search:
    """Searches folders of a data set for images at any depth.

    Hidden files and folders are skipped. The searched folders may be symbolic links. Inside the searched folders, links
    to folders are followed if the target is in the data set's folder and is not searched anyway. No file is found
    twice.

    Args:
        folder (str): Folder of the data set.
        roots (Iterable[str]): All folders to search. Links to these folders, their subfolders or their parent folders
            are not followed.
    """

    def __init__(self, folder: str, roots: Iterable[str]) -> None:
        self.folder = osp.realpath(folder)
        self.reserved = {osp.realpath(root) for root in roots}
        self.visited, self.linked = set(), set()

    def images(self, root: str, account: Account) -> list[str]:
        """Returns the sorted paths of the images, relative to ``root``; counts all files in ``account``."""
        links, found = [], []
        self._walk(root, '', found, links, account)
        while links:
            self._follow(root, links.pop(), found, links, account)
        return sorted(found)

    def _walk(self, root: str, part: str, found: list[str], links: list[Link], account: Account) -> None:
        path = osp.join(root, part)
        place = osp.realpath(path)
        if place in self.visited:
            return
        self.visited.add(place)
        for entry in list_folder(path):
            name = osp.join(part, entry.name)
            if entry.is_symlink() and not is_hidden(entry.name):
                links.append(Link(name, osp.realpath(entry.path)))
            elif entry.is_dir() and not is_hidden(entry.name):
                self._walk(root, name, found, links, account)
            elif osp.join(place, entry.name) in self.linked:
                account.left['files that have been found by a link'] += 1
            elif account.add(name, entry.is_file()):
                found.append(name)

    def _follow(self, root: str, link: Link, found: list[str], links: list[Link], account: Account) -> None:
        if osp.isfile(link.target):
            is_image = link.target.lower().endswith(SUFFIXES)
            if link.target in self.linked or is_image and self._is_searched(link.target):
                account.left['links to files that are found without the link'] += 1
            else:
                self.linked.add(link.target)
                if account.add(link.name):
                    found.append(link.name)
        elif not osp.isdir(link.target):
            account.left['broken links'] += 1
        elif not is_in(link.target, self.folder):
            account.left[OUTSIDE] += 1
        elif self._is_searched(link.target) or any(is_in(other, link.target) for other in self.reserved):
            account.left['links to folders that are searched without the link'] += 1
        else:
            self._walk(root, link.name, found, links, account)

    def _is_searched(self, path: str) -> bool:
        """Returns whether the search finds a file or folder without following a link to it."""
        while path != osp.dirname(path):
            if path in self.reserved or path in self.visited:
                return True
            path, name = osp.split(path)
            if name.startswith('.'):
                return False
        return False


def list_folder(path: str) -> list[os.DirEntry]:
    """Returns the entries of a folder sorted by name; raises UsageError if the folder cannot be read."""
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError(f'{path} cannot be read: {error.strerror}') from error


def is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(osp.join(folder, ''))


def find_classes(folder: str, part: str) -> dict[str, str]:
    """Returns the class folders in the subfolder ``part`` of a data set's folder, keyed by the name of the class.

    Raises:
        UsageError: If there is no class folder, a name is blank, names differ only by case or spaces, two class folders
            are the same, or the subfolder cannot be read.
    """
    root, classes, places = osp.join(folder, part), {}, {}
    entries = list_folder(root) if osp.isdir(root) else []
    names = [entry.name for entry in entries if not entry.name.startswith('.') and osp.isdir(entry.path)]
    check_class_names(names, root)
    for name in names:
        place = osp.realpath(osp.join(root, name))
        if is_in(osp.realpath(root), place):
            continue  # a link to a parent folder
        if place in places:
            raise UsageError(f'{osp.join(root, places[place])} and {osp.join(root, name)} are the same folder and '
                             'cannot be two classes')
        classes[name.strip()], places[place] = osp.join(root, name), name
    if not classes:
        raise UsageError(f'there is no folder {osp.join(part, "CLASS", "")}; expected train/CLASS/ and val/CLASS/, or '
                         'CLASS/ with --val-fraction')
    return classes


def refuse_others(classes: tuple[str, ...], of_val: set[str]) -> None:
    """Raises UsageError if the validation data have classes that the training data lack."""
    if others := of_val - set(classes):
        raise UsageError(f'the validation data have the classes {sorted(others)}, which the training data lack; the '
                         f'training data have {sorted(classes)}')


def class_images(folder: str, parts: Iterable[str], allow_left_out: bool = False) -> dict[str, dict[str, list[str]]]:
    """Returns the images of each class in the subfolders ``parts`` of a data set's folder.

    Returns:
        dict[str, dict[str, list[str]]]: ``{part: {class: paths of the images relative to part}}``.

    Raises:
        UsageError: If a subfolder has no class folders, two class folders are the same, the name of a class or file is
            invalid, or a folder cannot be read.
        LeftOutError: If too many files, or a linked folder outside the data set, would be left out, unless
            ``allow_left_out`` is True.
    """
    classes = {part: find_classes(folder, part) for part in dict.fromkeys(parts)}
    found = {}
    for part, folders in classes.items():
        search = Search(folder, [root for of_part in classes.values() for root in of_part.values()])
        account = Account(osp.join(folder, part, ''))
        found[part] = {name: [osp.join(osp.basename(root), image) for image in search.images(root, account)]
                       for name, root in folders.items()}
        for images in found[part].values():
            check_listable(images, osp.join(folder, part))
        for entry in list_folder(osp.join(folder, part)):
            if entry.name.lower().endswith(SUFFIXES) and not is_hidden(entry.name) and osp.isfile(entry.path):
                account.left['in no class folder'] += 1
        account.report(allow_left_out)
    return found


def seg_images(folder: str, part: str, allow_left_out: bool = False) -> dict[str, str]:
    """Returns the images in ``images/<part>`` of a data set's folder, with the paths of their masks.

    Raises:
        UsageError: If there are no images, a mask is missing, suffixes of images differ, a name is invalid, or a folder
            cannot be read.
        LeftOutError: If too many files, or a linked folder outside the data set, would be left out, unless
            ``allow_left_out`` is True.
    """
    root, account = osp.join(folder, 'images', part), Account(osp.join(folder, 'images', part, ''))
    images = Search(folder, [root]).images(root, account) if osp.isdir(root) else []
    if not images:
        raise UsageError(f'{root} has no images; expected images/{{train,val}}/ and masks/{{train,val}}/, or '
                         'images/ and masks/ with --val-fraction')
    account.report(allow_left_out)
    suffixes = {osp.splitext(image)[1] for image in images}
    if len(suffixes) > 1:
        raise UsageError(f'all images in {root} must have the same suffix, got {sorted(suffixes)}')
    check_listable([osp.splitext(image)[0] for image in images], root)
    masks = {image: osp.join(folder, 'masks', part, f'{osp.splitext(image)[0]}.png') for image in images}
    if missing := [image for image, mask in masks.items() if not osp.isfile(mask)]:
        raise UsageError(f'{osp.join(root, missing[0])} has no mask {masks[missing[0]]}')
    return masks
