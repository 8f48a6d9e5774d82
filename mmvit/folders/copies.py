"""Finds files with equal contents, such as an image that is in the training and in the validation."""
import os.path as osp
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress

from .images import digest_at
from .rasters import Raster, read_all
from .rules import Problem


def originals_of(paths: Iterable[str]) -> dict[str, str]:
    """Returns for each file the first one with the same bytes, perhaps itself; reads those that have equal sizes.

    Files that are empty, or of which that cannot be told, are left out.
    """
    paths = list(dict.fromkeys(paths))
    sizes = dict(zip(paths, read_all(size_at, paths)))
    counts = Counter(sizes.values())
    single = {path: path for path, size in sizes.items() if size and counts[size] == 1}
    others = [path for path, size in sizes.items() if size and counts[size] > 1]
    known: dict[str, str] = {}
    return single | {path: known.setdefault(digest, path)
                     for path, digest in zip(others, read_all(digest_at, others)) if digest}


def size_at(path: str) -> int:
    """Returns the bytes of a file; 0 if there is none, or it cannot be looked at."""
    with suppress(OSError):
        return osp.getsize(path)
    return 0


def shared_images(train: Sequence[Raster], val: Sequence[Raster], is_error: bool) -> list[Problem]:
    """Returns the problem that images are in the training and in the validation, if some are."""
    trained, tested = (list(dict.fromkeys(raster.image for raster in part)) for part in (train, val))
    originals, known = originals_of([*trained, *tested]), set(trained)
    shared = [path for path in tested if originals.get(path) in known]
    return [Problem(f'{len(shared)} of {len(tested)} validation images are also training images ({shared[0]} = '
                    f'{originals[shared[0]]}), so that the figures are too good', is_error)] if shared else []
