"""Draws varied-size windows: a panel per stage, a colored frame per head.

    mmvit draw windows IMAGE --network vitaev2_vsa_small --checkpoint CHECKPOINT
    mmvit draw windows IMAGE --network vitaev2_vsa_small --checkpoint CHECKPOINT --query 120,80

The query is a pixel, marked with a cross; the white frame is the default window that contains it. The colored frames
are the windows from which the heads sample keys and values, in the last attention layer of each stage.
"""
from argparse import ArgumentParser, Namespace

from ..arguments import add_drawing_arguments, call, new_parser
from ..docstrings import with_help


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    add_drawing_arguments(parser, 'windows.png')
    return with_help(parser, 'drawing.windows.draw_windows')


def run(args: Namespace) -> None:
    from ...drawing import draw_windows
    call(draw_windows, args)
    print(f'{args.image} -> {args.out}')
