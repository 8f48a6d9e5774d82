"""Finds files with equal contents, such as an image that is in the training and in the validation."""
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from .rasters import Raster
from .rules import Problem

NONE: Mapping[str, str] = MappingProxyType({})


def originals_of(paths: Iterable[str], digests: Mapping[str, str] = NONE) -> dict[str, str]:
    """Returns for each file the first one with its contents, perhaps itself.

    Files that are empty or cannot be read are left out.

    Args:
        paths (Iterable[str]): The files.
        digests (Mapping[str, str]): Digests, perhaps of parts, of some files. Only files with equal digests are read;
            without them, those of equal size. Defaults to none.
    """
    alike, known, originals = defaultdict(list), {}, {}
    for path in dict.fromkeys(paths):
        with suppress(OSError):
            alike[digests.get(path) or os.stat(path).st_size].append(path)
    for kind, files in alike.items():
        for path in files if kind else ():
            with suppress(OSError):
                content = hashlib.sha256(Path(path).read_bytes()).digest() if len(files) > 1 else path
                originals[path] = known.setdefault(content, path)
    return originals


def shared_images(train: Sequence[Raster], val: Sequence[Raster], is_error: bool, digests: Mapping[str, str] = NONE
                  ) -> list[Problem]:
    """Returns the problem that images are in the training and in the validation, if some are."""
    trained, tested = (list(dict.fromkeys(raster.image for raster in part)) for part in (train, val))
    originals, known = originals_of([*trained, *tested], digests), set(trained)
    shared = [path for path in tested if originals.get(path) in known]
    return [Problem(f'{len(shared)} of {len(tested)} validation images are also training images ({shared[0]} = '
                    f'{originals[shared[0]]}), so that the figures are too good', is_error)] if shared else []
