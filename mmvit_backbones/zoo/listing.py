"""Lists the networks with the state of the authors' weights, and downloads weights by name."""
import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from ..errors import CheckpointError, UsageError
from .download import cached_file, fetch
from .variants import VARIANTS, find_names
from .weights import BY_BROWSER, OTHER_FILES, WEIGHTS, PublishedFile, host_of


def state_of(weights: PublishedFile) -> str:
    """Returns ``cached``, ``download`` or, if all hosts ask for a click or an account, ``browser``."""
    if os.path.exists(cached_file(weights)):
        return 'cached'
    return 'browser' if all(host_of(url) in BY_BROWSER for url in weights.urls) else 'download'


def describe_networks(pattern: str = '*') -> list[dict]:
    """Returns the name, parameters, GMACs, image size, top-1 accuracy and weights of the networks that match a pattern.

    ``gmacs`` are counted at ``image_size`` in pixels; ``top1`` is the published accuracy on ImageNet-1k in %, or None;
    ``weights`` has the state of the weights by tag, and ``related_weights`` the name of pretrained weights of a related
    network, or ''.

    Args:
        pattern (str): Shell pattern. Defaults to all networks.

    Raises:
        UsageError: If nothing matches.
    """
    return [dict(
        name=variant.name, parameters=variant.num_params, gmacs=variant.gmacs, image_size=variant.img_size,
        top1=variant.top1, weights={tag: state_of(file) for tag, file in variant.weights.items()},
        related_weights=variant.related_weights)
        for variant in map(VARIANTS.__getitem__, find_names([pattern]))]


def download_weights(patterns: Sequence[str]) -> Iterator[Path | CheckpointError]:
    """Downloads weights to the cache; yields the file of each, or the error.

    Args:
        patterns (Sequence[str]): Shell patterns of the names of networks, or of files without their extension.

    Raises:
        UsageError: If no published file matches.
    """
    found = [weights for weights in (*WEIGHTS.values(), *OTHER_FILES.values())
             if any(fnmatchcase(name, pattern) for name in (weights.variant, weights.name) for pattern in patterns)]
    if not found:
        raise UsageError(f'no published weights match {" or ".join(patterns)}; see mmvit models')
    for weights in found:
        try:
            yield fetch(weights)
        except CheckpointError as error:
            yield error
