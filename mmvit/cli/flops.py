"""Counts the parameters and multiply-adds of networks.

    mmvit flops 'vitaev2*'
    mmvit flops reswin_tiny --size 800 1333 --backbone
    mmvit flops work_dirs/reswin_tiny_detector

The multiply-adds of convolutions and matrix products are counted, including attention. Papers usually report this
number as FLOPs. With --backbone, the network is counted alone, without a classifier's head. Of a training, the
prediction for an image is counted.
"""
from argparse import ArgumentParser, Namespace

from ..utils.limits import SIDE
from .arguments import given_options, new_parser
from .docstrings import with_help


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('networks', nargs='+')
    parser.add_argument('--size', type=SIDE, nargs='+', metavar='PIXELS')
    parser.add_argument('--backbone', dest='task', action='store_const', const='backbone',
                        help='count only the backbone, with all its feature maps')
    return with_help(parser, 'measuring.flops.count_flops')


def run(args: Namespace) -> None:
    from ..measuring import count_flops
    from ..utils.tables import as_markdown
    print(as_markdown([row._asdict() for row in count_flops(**given_options(args))]))
