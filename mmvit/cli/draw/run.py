"""Plots losses, learning rates and metrics of training runs.

    mmvit draw run work_dirs/imagenet_reswin_t work_dirs/imagenet_rest_lite --out runs.png
    mmvit draw run work_dirs/imagenet_vitaev2_s --published

With --published, the figures in the log of the published run of the same recipe are drawn, too.
"""
from argparse import ArgumentParser, Namespace

from ..arguments import figure_file, new_parser
from ..docstrings import with_help


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR')
    parser.add_argument('--published', action='store_true')
    parser.add_argument('--out', type=figure_file, default='run.png')
    return with_help(parser, 'drawing.run.draw_runs')


def run(args: Namespace) -> None:
    from ...drawing import draw_runs
    different = draw_runs(args.work_dirs, args.out, published=args.published)
    print(*different, f'{", ".join(args.work_dirs)} -> {args.out}', sep='\n')
