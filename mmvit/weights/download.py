"""Downloads and checks the authors' weights.

    mmvit weights download reswin_tiny restv2_tiny_384
    mmvit weights download 'vitae*' --check    # checks cached files against their networks

A pattern matches the names of networks or files. Files are cached in $MMVIT_HOME, by default the checkpoints folder of
torch.hub. If $MMVIT_MIRROR is the URL of a mirror, the mirror is tried first.
"""
from argparse import ArgumentParser

from ..arguments import new_parser


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('patterns', nargs='+', metavar='PATTERN',
                        help="shell patterns; '*' selects all weights (many GB)")
    parser.add_argument('--check', action='store_true', help='check the cached files and download nothing')
    return parser
