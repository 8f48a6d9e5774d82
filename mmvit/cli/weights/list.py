"""Lists the authors' weights and their state: cached (perhaps never loaded), download, browser or unpublished.

    mmvit weights list
    mmvit weights list 'rest*'

Without a mirror, only a person with a browser can download files with the state `browser`. Patterns are matched against
the names of networks, and of files without their extension. The list includes two files that no network of this package
can load: token_labels.
"""
from argparse import ArgumentParser, Namespace

from ..arguments import new_parser


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('patterns', nargs='*', default=['*'], metavar='PATTERN',
                        help="shell patterns, e.g. 'res*' (default: all weights)")
    return parser


def run(args: Namespace) -> None:
    from mmvit_backbones.zoo.listing import list_weights, weights_table
    print(weights_table(list_weights(args.patterns)))
