"""Draws the attention maps of all blocks of a network in one figure.

    mmvit draw attention IMAGE --network remvitv2_tiny --pretrained --query 120,80
    mmvit draw attention IMAGE --network reswin_tiny --checkpoint CHECKPOINT

Each row shows one block: the mean over its heads, and the first two heads. In maps of both signs, which Refiner-ViT's
refined maps are, red is positive and blue negative. The title has the network and its weights; a color scale, in which
gray is 0, is beside each block's maps.
"""
from argparse import ArgumentParser, Namespace

from ...utils.limits import SIDE, Limits
from ..arguments import add_pretrained_argument, figure_file, given_options, new_parser, pixel
from ..docstrings import with_help


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('image', metavar='IMAGE')
    parser.add_argument('--network', required=True, metavar='NAME')
    parser.add_argument('--checkpoint')
    add_pretrained_argument(parser)
    parser.add_argument('--query', type=pixel, metavar='X,Y')
    parser.add_argument('--out', type=figure_file, default='attention.png')
    parser.add_argument('--size', type=SIDE, metavar='PIXELS')
    parser.add_argument('--blocks', type=Limits(0), nargs='+')
    return with_help(parser, 'drawing.attention.draw_attention')


def run(args: Namespace) -> None:
    from ...drawing import draw_attention
    draw_attention(**given_options(args))
    print(f'{args.image} -> {args.out}')
