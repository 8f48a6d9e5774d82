"""Counts the parameters and multiply-adds of networks.

    mmvit flops 'vitaev2*'
    mmvit flops reswin_tiny --size 800 1333 --backbone --json

With --backbone, the network is counted alone, without a classifier's head; `mmvit benchmark` measures whole models.
"""
import json
from argparse import ArgumentParser, Namespace

from .arguments import add_size_argument, call, new_parser
from .docstrings import explanation_of, with_help


def get_parser() -> ArgumentParser:
    parser = new_parser(f'{__doc__}\n{explanation_of("measuring.flops.count_flops")}')
    parser.add_argument('networks', nargs='+')
    add_size_argument(parser)
    parser.add_argument('--backbone', dest='task', action='store_const', const='backbone',
                        help='count only the backbone, with all its feature maps')
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    return with_help(parser, 'measuring.flops.count_flops')


def run(args: Namespace) -> None:
    from ..measuring import count_flops
    from ..utils.tables import as_markdown
    rows = [row._asdict() for row in call(count_flops, args, omit=['json'])]
    print(json.dumps(rows, indent=1) if args.json else as_markdown(rows))
