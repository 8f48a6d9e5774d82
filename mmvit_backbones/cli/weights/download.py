"""Downloads and checks the authors' weights."""
import argparse
import sys
from pathlib import Path

from ...errors import CheckpointError, UsageError
from ...zoo.download import cache_folder, cached_file, check_unchanged, fetch
from ...zoo.loading import read_published
from ...zoo.variants import Variant
from ...zoo.weights import Weights
from .list import find_entries


def main(args: argparse.Namespace) -> None:
    entries = [(variant, tag, weights) for variant, tag, weights in find_entries(args.patterns) if weights]
    if not entries:
        raise UsageError(f'the networks that match {" or ".join(args.patterns)} have no published weights')
    if args.check:
        entries = [entry for entry in entries if cached_file(entry[2]).exists()]
        if not entries:
            print(f'no weights are cached in {cache_folder()}')
    problems = 0
    for variant, tag, weights in entries:
        try:
            path = check(variant, tag, weights) if args.check else fetch(weights)
            print(f'{path}: {"matches " + variant.name if args.check and variant else "cached"}')
        except CheckpointError as error:
            problems += 1
            print(f'error: {error}', file=sys.stderr)
    if problems:
        outcome = 'do not match' if args.check else 'could not be downloaded'
        raise UsageError(f'{problems} of {len(entries)} checkpoints {outcome}')


def check(variant: Variant | None, tag: str, weights: Weights) -> Path:
    """Checks a cached file against its recorded hash and its network, and returns its path."""
    path = cached_file(weights)
    check_unchanged(path)
    if variant is not None:
        read_published(variant, tag)
    return path
