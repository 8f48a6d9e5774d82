"""Lists the networks with parameters and multiply-adds of classifiers, accuracy, and available weights.

    mmvit models
    mmvit models 'res*'
    mmvit models --json

Multiply-adds (GMACs) are counted at the published image size. Top-1 is the published accuracy on ImageNet-1k.

States of weights:
  cached    the file is in the cache
  download  `mmvit weights download` or the first use downloads the file
  browser   only a person with a browser can download the file
  related   weights of a related network, for `mmvit train NETWORK --pretrained NAME`
  -         no weights are published
"""
import json
from argparse import ArgumentParser, Namespace

from .arguments import new_parser

NEXT = ('next, with a NETWORK of the table:',
        '  mmvit train NETWORK --coco-folder FOLDER  # or --class-folder, --seg-folder',
        '  mmvit weights download NETWORK            # or what to do in a browser')


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('pattern', nargs='?', default='*', metavar='PATTERN', help="shell pattern, e.g. 'res*'")
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    return parser


def run(args: Namespace) -> None:
    from rich.table import Table

    from mmvit_backbones.zoo.listing import describe_networks

    from ..utils.tables import PLAIN, print_table
    networks = describe_networks(args.pattern)
    if args.json:
        print(json.dumps(networks, indent=1))
        return
    table = Table('network', 'params, M', 'GMACs', 'image', 'top-1, %', 'weights', **PLAIN)
    for row in networks:
        weights = [f'{tag} ({state})' for tag, state in row['weights'].items()]
        table.add_row(row['name'], f'{row["parameters"] / 1e6:.1f}', f'{row["gmacs"]:.2f}', str(row['image_size']),
                      str(row['top1'] or '-'), ', '.join(weights + ['related'] * bool(row['related_weights'])) or '-')
    print_table(table)
    related = [f'weights related to {row["name"]}: {row["related_weights"]}' for row in networks
               if row['related_weights']]
    print('', *related, '', *NEXT, sep='\n')
