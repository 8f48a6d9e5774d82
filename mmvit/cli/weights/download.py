"""Downloads and checks the authors' weights.

    mmvit weights download reswin_tiny restv2_tiny_384
    mmvit weights download 'vitae*' --check    # checks cached files against their networks

A pattern matches the names of networks or files. Files are cached in $MMVIT_HOME, by default the checkpoints folder of
torch.hub. If $MMVIT_MIRROR is the URL of a mirror, which has the same files, the mirror is tried first.
"""
import sys
from argparse import ArgumentParser, Namespace

from ..arguments import new_parser


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('patterns', nargs='+', metavar='PATTERN',
                        help="shell patterns; '*' selects all weights (many GB)")
    parser.add_argument('--check', action='store_true', help='check the cached files and download nothing')
    return parser


def run(args: Namespace) -> None:
    from mmvit_backbones.errors import UsageError
    from mmvit_backbones.zoo.listing import download_weights
    count = failed = 0
    for entry, path, error in download_weights(args.patterns, args.check):
        count, failed = count + 1, failed + (error is not None)
        if error:
            print(f'error: {error}', file=sys.stderr)
        else:
            print(f'{path}: {f"matches {entry.variant.name}" if args.check and entry.variant else "cached"}')
    if failed:
        outcome = 'do not match' if args.check else 'could not be downloaded'
        raise UsageError(f'{failed} of {count} checkpoints {outcome}')
    if not count:
        print('no weights are cached')
