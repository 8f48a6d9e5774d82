"""Lists the networks and the authors' weights, and downloads or checks weights by name."""
import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

from ..errors import CheckpointError, UsageError
from .checkpoints import read_published
from .download import cache_folder, cached_file, check_unchanged, fetch, is_recorded
from .published import RESULTS
from .variants import VARIANTS, Variant, find_names
from .weights import OTHER_FILES, Weights


class Entry(NamedTuple):
    """Weights of a network with their tag. ``weights`` is None for a network whose weights are not published.

    ``variant`` is None for a file that belongs to no network of this package, such as token labels.
    """

    variant: Variant | None
    tag: str
    weights: Weights | None


def list_weights(patterns: Sequence[str] = ('*', )) -> list[Entry]:
    """Returns the weights whose network or file, without its extension, matches one of the shell patterns.

    Raises:
        UsageError: If nothing matches.
    """
    entries = [Entry(variant, tag, weights) for variant in VARIANTS.values()
               for tag, weights in (variant.weights or {'': None}).items()]
    entries += [Entry(None, '', weights) for weights in OTHER_FILES.values()]
    found = [entry for entry in entries if any(fnmatchcase(part.name, pattern) for pattern in patterns
                                               for part in (entry.variant, entry.weights) if part)]
    if not found:
        raise UsageError(f'no network or checkpoint matches {" or ".join(patterns)}')
    return found


def state_of(weights: Weights) -> str:
    """Returns ``cached``, ``cached, never loaded``, ``download`` or, if only a browser can download it, ``browser``."""
    path = cached_file(weights)
    if os.path.exists(path):
        return 'cached' if is_recorded(path) else 'cached, never loaded'
    return 'browser' if weights.needs_browser else 'download'


def published_figures(variant: Variant | None, tag: str) -> dict[str, float]:
    """Returns the published results of a network's weights, by name."""
    if variant is None:
        return {}
    # Results of weights pretrained on ImageNet-22k are also in the default config.
    configs = [variant.config_name(str(variant.img_size))] * (tag == '22k') + [variant.config_name(tag)]
    figures = {key: value for name in configs for key, value in RESULTS.get(name, {}).items()}
    return {key: value for key, value in figures.items() if key.endswith('22k') == (tag == '22k')}


def describe_networks(pattern: str = '*', sort: str = 'name') -> list[dict]:
    """Returns the name, parameters, GMACs, image size, top-1 accuracy and weights of the networks that match a pattern.

    ``gmacs`` are counted at ``image_size`` in pixels; ``top1`` is the published accuracy on ImageNet-1k in %, or None;
    ``weights`` has the state of the weights by tag, and ``related_weights`` the name of pretrained weights of a related
    network, or ''.

    Args:
        pattern (str): Shell pattern. Defaults to all networks.
        sort (str): 'name', 'parameters' or 'gmacs', in ascending order; or 'top1', best first and unknown last.

    Raises:
        UsageError: If nothing matches, or ``sort`` is unknown.
    """
    names = find_names([pattern])
    keys = {'name': lambda variant: variant.name, 'parameters': lambda variant: variant.num_params,
            'gmacs': lambda variant: variant.gmacs, 'top1': lambda variant: -(variant.top1 or 0)}
    if sort not in keys:
        raise UsageError(f'sort must be one of {", ".join(keys)}, got {sort!r}')
    return [dict(
        name=variant.name, parameters=variant.num_params, gmacs=variant.gmacs, image_size=variant.img_size,
        top1=variant.top1, weights={tag: state_of(file) for tag, file in variant.weights.items()},
        related_weights=variant.related_weights)
        for variant in sorted(map(VARIANTS.__getitem__, names), key=keys[sort])]


def network_table(networks: Sequence[dict]) -> str:
    """Returns the table of :func:`describe_networks`, which is at most 100 columns wide."""
    lines = [f'{"network":<24}{"params, M":>10}{"GMACs":>8}{"image":>7}{"top-1, %":>10}  weights']
    for row in networks:
        states = dict.fromkeys(row['weights'].values())
        parts = [f'{state}: {", ".join(tag for tag, other in row["weights"].items() if other == state)}'
                 for state in states]
        weights = '; '.join(parts + ['related'] * bool(row['related_weights'])) or '-'
        start = (f'{row["name"]:<24}{row["parameters"] / 1e6:>10.1f}{row["gmacs"]:>8.2f}{row["image_size"]:>7}'
                 f'{row["top1"] or "-":>10}  ')
        lines += wrap(weights, 100, initial_indent=start, subsequent_indent=' ' * len(start), break_on_hyphens=False)
    related = [f'  {row["name"]:<22}{row["related_weights"]}' for row in networks if row['related_weights']]
    if related:
        lines += ['', 'weights of related networks:', *related]
    return '\n'.join(lines)


def weights_table(entries: Sequence[Entry]) -> str:
    """Returns the table of :func:`list_weights`: network, tag, state, source, published results and file."""
    rows = [('network', 'tag', 'state', 'source', 'published', 'file'), *map(_row_of, entries)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ['  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return '\n'.join([*lines, '', f'folder: {cache_folder()}'])


def _row_of(entry: Entry) -> tuple[str, ...]:
    variant, tag, weights = entry
    name, code = (variant.name, variant.family.code) if variant else ('-', '')
    if weights is None:
        return name, '-', 'unpublished', variant and variant.related_weights or code, '', ''
    figures = ', '.join(f'{key} {value}' for key, value in published_figures(variant, tag).items())
    state = state_of(weights)
    code = f' (code {weights.access_code})' if weights.access_code else ''
    place = f'{weights.urls[0]}{code}' if state == 'browser' else weights.host
    return name, tag or '-', state, place, '; '.join(filter(None, [figures, weights.remark])), weights.file_name


class Cached(NamedTuple):
    """Weights with their file in the cache, or the error."""

    entry: Entry
    path: Path | None
    error: CheckpointError | None = None


def download_weights(patterns: Sequence[str], check: bool = False) -> Iterator[Cached]:
    """Downloads weights to the cache, or checks those that are in it, and yields each.

    Args:
        patterns (Sequence[str]): As for :func:`list_weights`.
        check (bool): Whether to check cached files against their recorded hashes and their networks, and to download
            nothing. Defaults to False.

    Raises:
        UsageError: If nothing matches, or no matching network has published weights.
    """
    entries = [(entry, entry.weights) for entry in list_weights(patterns) if entry.weights]
    if not entries:
        raise UsageError(f'the networks that match {" or ".join(patterns)} have no published weights')
    for entry, weights in entries:
        if not check or os.path.exists(cached_file(weights)):
            try:
                yield Cached(entry, check_cached(entry.variant, entry.tag, weights) if check else fetch(weights))
            except CheckpointError as error:
                yield Cached(entry, None, error)


def check_cached(variant: Variant | None, tag: str, weights: Weights) -> Path:
    """Checks a cached file against its recorded hash and its network, and returns its path."""
    path = cached_file(weights)
    check_unchanged(path, hashes=True)
    if variant is not None:
        read_published(variant, tag)
    return path
