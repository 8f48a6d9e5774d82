"""Measures the time and memory of networks relative to a baseline, or of whole models.

    mmvit benchmark vitaev2_small reswin_tiny       classification, 224 x 224, batch 4
    mmvit benchmark vitaev2_small --dense           backbone for dense prediction, 448 x 672, batch 1
    mmvit benchmark vitaev2_small --baseline reswin_tiny
    mmvit benchmark reswin_tiny --device cuda --precision bfloat16 --batch-size 128
    mmvit benchmark mask_rcnn_reswin_t mask_rcnn_rest_s --device cuda --precision bfloat16    whole models

The output is a table in Markdown. Each network has the milliseconds of a forward pass in evaluation mode without
gradients and of a step, i.e. a forward and a backward pass in training mode; images per second in forward passes; the
bytes per image that autograd saves for the backward pass, without parameters and buffers; and ratios to the baseline,
where smaller is better. On a GPU, it also has the peak memory of a step. Networks and the baseline are timed
alternately, and each ratio is the median of --repeats ratios.

For configs and work dirs of trainings, the table has the milliseconds of a whole training step, i.e. preprocessing,
losses, gradients and optimizer, on random images, and the same memory. Each model is alone in memory. On a GPU whose
memory is too small, a line says so, and the next model follows. The environment variable MMVIT_KERNELS=triton selects
Triton's kernels.
"""
from argparse import ArgumentParser, Namespace

from ..configs.precisions import PRECISIONS
from ..naming import list_kinds
from ..utils.limits import COUNT, SIDE, Limits
from .arguments import given_options, new_parser
from .docstrings import with_help


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('networks', nargs='+', help=list_kinds('benchmark'))
    parser.add_argument('--baseline')
    parser.add_argument('--dense', action='store_const', const=True)
    parser.add_argument('--size', type=SIDE, nargs='+', metavar='PIXELS')
    parser.add_argument('--batch-size', type=COUNT)
    parser.add_argument('--repeats', type=COUNT)
    parser.add_argument('--threads', type=Limits(1, 1024))
    parser.add_argument('--device')
    parser.add_argument('--precision', choices=tuple(PRECISIONS))
    return with_help(parser, 'measuring.speed.benchmark')


def run(args: Namespace) -> None:
    from ..measuring import benchmark
    print(benchmark(**given_options(args)))
