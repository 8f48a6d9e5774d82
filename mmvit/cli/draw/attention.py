"""Draws the attention maps of all blocks of a network in one figure.

    mmvit draw attention IMAGE --network remvitv2_tiny --pretrained --query 120,80
    mmvit draw attention IMAGE --network reswin_tiny --checkpoint CHECKPOINT

Each row shows one block: the mean over its heads, and the first two heads. ReViT, ReMViTv2 and ReSwin also show the
attention residual, i.e. the logits passed to the next block. Refiner-ViT has one row per pair of blocks, with raw and
refined maps. RegionViT shows the attention of regional tokens, and of local tokens within their windows.
In residuals and refined maps, red is positive and blue negative.
"""
from argparse import ArgumentParser, Namespace

from ..arguments import add_pretrained_argument, add_size_argument, call, figure_file, new_parser, pixel, whole
from ..docstrings import explanation_of, with_help


def get_parser() -> ArgumentParser:
    parser = new_parser(f'{__doc__}\n{explanation_of("drawing.attention.draw_attention")}')
    parser.add_argument('image', metavar='IMAGE')
    parser.add_argument('--network', required=True, metavar='NAME')
    parser.add_argument('--checkpoint')
    add_pretrained_argument(parser)
    parser.add_argument('--query', type=pixel, metavar='X,Y')
    add_size_argument(parser, is_square=False)
    parser.add_argument('--blocks', type=whole(0), nargs='+')
    parser.add_argument('--out', type=figure_file, default='attention.png')
    return with_help(parser, 'drawing.attention.draw_attention')


def run(args: Namespace) -> None:
    from ...drawing import draw_attention
    call(draw_attention, args)
    print(f'{args.image} -> {args.out}')
