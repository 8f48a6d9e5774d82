"""Downloads the authors' weights.

    mmvit weights download reswin_tiny restv2_tiny_384
    mmvit weights download 'vitae*'

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
    return parser


def run(args: Namespace) -> None:
    from mmvit_backbones.errors import CheckpointError, UsageError
    from mmvit_backbones.zoo.listing import download_weights
    results = []
    for result in download_weights(args.patterns):
        results.append(result)
        if isinstance(result, CheckpointError):
            print(f'error: {result}', file=sys.stderr)
        else:
            print(f'{result}: cached', flush=True)
    if failed := sum(isinstance(result, CheckpointError) for result in results):
        raise UsageError(f'{failed} of {len(results)} checkpoints could not be downloaded')
