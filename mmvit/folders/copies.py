"""Finds files with equal contents, such as an image that is in the training and in the validation."""
from collections.abc import Iterable, Sequence

from .images import digest_at
from .rasters import Raster, read_all
from .rules import Problem

EMPTY = '0-'  # how the digests of empty files begin


def originals_of(paths: Iterable[str]) -> dict[str, str]:
    """Returns for each file the first one with its digest, perhaps itself.

    Files that are empty or cannot be read are left out.
    """
    paths, known = list(dict.fromkeys(paths)), {}
    return {path: known.setdefault(digest, path) for path, digest in zip(paths, read_all(digest_at, paths))
            if digest and not digest.startswith(EMPTY)}


def shared_images(train: Sequence[Raster], val: Sequence[Raster], is_error: bool) -> list[Problem]:
    """Returns the problem that images are in the training and in the validation, if some are."""
    trained, tested = (list(dict.fromkeys(raster.image for raster in part)) for part in (train, val))
    originals, known = originals_of([*trained, *tested]), set(trained)
    shared = [path for path in tested if originals.get(path) in known]
    return [Problem(f'{len(shared)} of {len(tested)} validation images are also training images ({shared[0]} = '
                    f'{originals[shared[0]]}), so that the figures are too good', is_error)] if shared else []
