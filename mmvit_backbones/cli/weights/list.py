"""Lists the authors' weights and their state: cached (perhaps never loaded), missing, by hand, or not published."""
import argparse
from fnmatch import fnmatchcase

from ...errors import UsageError
from ...zoo.download import cache_folder, cached_file, is_recorded
from ...zoo.published import RESULTS
from ...zoo.variants import VARIANTS, Variant
from ...zoo.weights import OTHER_FILES, Weights


def main(args: argparse.Namespace) -> None:
    print_table(find_entries(args.patterns))


def find_entries(patterns: list[str]) -> list[tuple[Variant | None, str, Weights | None]]:
    """Returns matching networks, tags and weights; None for unpublished weights, or for a file without a network."""
    entries = [(variant, tag, weights) for variant in VARIANTS.values()
               for tag, weights in (variant.weights or {'': None}).items()]
    entries += [(None, '', weights) for weights in OTHER_FILES.values()]
    found = [(variant, tag, weights) for variant, tag, weights in entries
             if any(fnmatchcase(name, pattern) for pattern in patterns
                    for name in (variant.name if variant else '', weights.name if weights else ''))]
    if not found:
        raise UsageError(f'no network or checkpoint matches {" or ".join(patterns)}')
    return found


def print_table(entries: list[tuple[Variant | None, str, Weights | None]]) -> None:
    rows = [('network', 'tag', 'state', 'source', 'published', 'file'), *map(row_of, entries)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print('  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print(f'\nfolder: {cache_folder()}')


def row_of(entry: tuple[Variant | None, str, Weights | None]) -> tuple[str, ...]:
    variant, tag, weights = entry
    name, code = (variant.name, variant.family.code) if variant else ('-', '')
    if weights is None:
        return name, '-', 'not published', code, '', ''
    figures = ', '.join(f'{key} {value}' for key, value in published(variant, tag).items())
    state = state_of(weights)
    place = f'{weights.urls[0]} (code {weights.access_code})' if state == 'by hand' else weights.host
    return name, tag or '-', state, place, '; '.join(filter(None, [figures, weights.remark])), weights.file_name


def published(variant: Variant | None, tag: str) -> dict[str, float]:
    """Returns the published results of a checkpoint, by name."""
    if variant is None:
        return {}
    figures = {key: value for name in config_names(variant, tag) for key, value in RESULTS.get(name, {}).items()}
    return {key: value for key, value in figures.items() if key.endswith('22k') == (tag == '22k')}


def config_names(variant: Variant, tag: str) -> list[str]:
    """Returns the names of the configs with a checkpoint's published results, for '22k' also the default config."""
    plain = [variant.config_name(str(variant.img_size))] if tag == '22k' else []
    return [*plain, variant.config_name(tag)]


def state_of(weights: Weights) -> str:
    path = cached_file(weights)
    if path.exists():
        return 'cached' if is_recorded(path) else 'cached, never loaded'
    return 'by hand' if weights.host == 'Baidu' else 'missing'
