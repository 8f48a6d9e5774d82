"""Draws the attention maps of all blocks of a network in one figure.

    mmvit draw attention IMAGE --network remvitv2_tiny --pretrained --query 120,80
    mmvit draw attention IMAGE --network reswin_tiny --checkpoint CHECKPOINT --cam 281

Each row shows one block: the mean over its heads, and single heads. ReViT, ReMViTv2 and ReSwin also show the attention
residual, i.e. the logits passed to the next block. Refiner-ViT has one row per pair of blocks, with raw and refined
maps. RegionViT shows the attention of regional tokens, and of local tokens within their windows.

The maps show the attention of one pixel, by default the center of the image; `--query` selects another pixel. With
`--cam`, they show the attention of all positions that support a class, weighted by each position's contribution to
the class's logit (class activation maps, Zhou et al., CVPR 2016, arXiv 1512.04150). The maps of a block have one color
scale, which is beside them; gray means a weight of 0. In residuals and refined maps, red is positive and blue negative.
"""
from argparse import ArgumentParser, Namespace

from ..arguments import add_pretrained_argument, call, figure_file, new_parser, pixel, pixels, whole


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('image', metavar='IMAGE', help='image file')
    parser.add_argument('--network', required=True, help='name of a network listed by mmvit models', metavar='NAME')
    parser.add_argument('--checkpoint', help='published weights or training checkpoint (default: random weights)')
    add_pretrained_argument(parser)
    position = parser.add_mutually_exclusive_group()
    position.add_argument('--query', type=pixel, metavar='X,Y',
                          help='draw the attention of this pixel (default: the center of the image)')
    position.add_argument('--cam', type=whole(-1), metavar='CLASS',
                          help='draw the attention of all positions that support the class with this index, or with '
                               '-1 the predicted class')
    parser.add_argument('--size', type=pixels,
                        help='shorter side of the input of the network, in pixels (default: 224); both sides are '
                             'rounded to multiples of 32')
    parser.add_argument('--blocks', type=whole(0), nargs='+',
                        help='indices of the rows to draw, starting from 0 (default: all)')
    parser.add_argument('--heads', type=whole(0), nargs='+',
                        help='indices of the heads to draw in addition to the mean (default: 0 1)')
    parser.add_argument('--out', type=figure_file, default='attention.png',
                        help='figure to write (default: %(default)s)')
    return parser


def run(args: Namespace) -> None:
    from ...analysis import draw_attention
    call(draw_attention, args)
    print(f'{args.image} -> {args.out}')
