"""Lists, downloads and checks the authors' checkpoints.

    python tools/weights/download_weights.py 'rest*' --list          # cached, missing, by hand (Baidu), not published
    python tools/weights/download_weights.py reswin_tiny restv2_tiny_384
    python tools/weights/download_weights.py 'vitae*' --check        # checks the cached files against the networks

A pattern matches names of networks or of files. Files of no network here are called token_labels and
vitaev2_small_pose_ap10k.
Files are cached in $MMVIT_HOME, by default in torch hub's folder; $MMVIT_MIRROR is a base URL that is tried first.
"""
import argparse
import sys
from fnmatch import fnmatchcase
from pathlib import Path

from mmvit_backbones.errors import CheckpointError, UsageError
from mmvit_backbones.zoo.download import cache_folder, cached_file, check_unchanged, fetch, is_recorded
from mmvit_backbones.zoo.loading import read_published
from mmvit_backbones.zoo.published import RESULTS
from mmvit_backbones.zoo.variants import VARIANTS, Variant
from mmvit_backbones.zoo.weights import OTHER_FILES, Weights

sys.path.append(str(Path(__file__).resolve().parents[1]))
from common.command_line import run_script  # noqa: E402


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('patterns', nargs='*', default=['*'], metavar='PATTERN', help='default: all')
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument('--list', action='store_true', help='download nothing, print a table')
    kind.add_argument('--check', action='store_true', help='download nothing, check the cached files')
    return parser


def main(args: argparse.Namespace) -> None:
    entries = find_entries(args.patterns)
    if args.list:
        print_table(entries)
        return
    if not args.check and args.patterns == ['*']:
        raise UsageError("all files are many GB: name some by a PATTERN, or all by '**'")
    problems = 0
    if args.check:
        entries = [entry for entry in entries if entry[2] and cached_file(entry[2]).exists()]
        if not entries:
            print(f'none is cached in {cache_folder()}')
    for variant, tag, weights in entries:
        if weights is None:
            continue
        try:
            path = check(variant, tag, weights) if args.check else fetch(weights)
            print(f'{path}: {"fits " + variant.name if args.check and variant else "is there"}')
        except CheckpointError as error:
            problems += 1
            print(f'error: {error}', file=sys.stderr)
    if problems:
        raise UsageError(f'{problems} of {len(entries)} {"do not match" if args.check else "could not be downloaded"}')


def find_entries(patterns: list[str]) -> list[tuple[Variant | None, str, Weights | None]]:
    """Returns the networks, tags and checkpoints that match; a network without checkpoints has None."""
    entries = [(variant, tag, weights) for variant in VARIANTS.values()
               for tag, weights in (variant.weights or {'': None}).items()]
    entries += [(None, '', weights) for weights in OTHER_FILES.values()]
    found = [(variant, tag, weights) for variant, tag, weights in entries
             if any(fnmatchcase(name, pattern) for pattern in patterns
                    for name in (variant.name if variant else '', weights.name if weights else ''))]
    if not found:
        raise UsageError(f'no network and no checkpoint is called {" or ".join(patterns)}')
    return found


def check(variant: Variant | None, tag: str, weights: Weights):
    """Reads a cached file and checks it against its network."""
    path = cached_file(weights)
    check_unchanged(path)
    if variant is not None:
        read_published(variant, tag)
    return path


def print_table(entries: list[tuple[Variant | None, str, Weights | None]]) -> None:
    rows = [('network', 'tag', 'state', 'from', 'published', 'file'), *map(row_of, entries)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print('  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print(f'\nfolder: {cache_folder()}')


def row_of(entry: tuple[Variant | None, str, Weights | None]) -> tuple[str, ...]:
    variant, tag, weights = entry
    if weights is None:
        return variant.name, '-', 'not published', variant.family.code, '', ''
    told = [f'{key} {value}' for key, value in published(variant, tag).items()]
    state = state_of(weights)
    place = f'{weights.addresses[0]} (code {weights.access_code})' if state == 'by hand' else weights.host
    return variant.name if variant else '-', tag or '-', state, place, \
        '; '.join(filter(None, [', '.join(told), weights.remark])), weights.file_name


def published(variant: Variant | None, tag: str) -> dict[str, float]:
    """Returns the authors' figures of a checkpoint."""
    if variant is None:
        return {}
    plain = str(variant.img_size)
    # Figures after more data may stand with those of the plain config.
    names = [variant.config_name(plain), variant.config_name(tag)] if tag == '22k' else [variant.config_name(tag)]
    figures = {key: value for name in names for key, value in RESULTS.get(name, {}).items()}
    return {key: value for key, value in figures.items() if key.endswith('22k') == (tag == '22k')}


def state_of(weights: Weights) -> str:
    path = cached_file(weights)
    if path.exists():
        return 'cached' if is_recorded(path) else 'cached, never loaded'
    return 'by hand' if weights.host == 'Baidu' else 'missing'


if __name__ == '__main__':
    run_script(get_parser(), main)
