"""Counts the parameters and multiply-adds of networks, or their kernels, memory traffic and peak memory.

    mmvit flops 'vitaev2*'
    mmvit flops reswin_tiny --size 800 1333 --backbone --json
    mmvit flops reswin_tiny 'rest*' --traffic
    mmvit flops remvitv2_tiny --traffic --backbone --size 800 1344 --batch-size 2 --dtype float32 --with-cp

--traffic counts the kernels, bytes moved and peak memory of a forward pass and of a training step. Each operator except
views counts as one kernel, which reads its arguments and writes its results. Peak memory includes activations and
gradients, but neither parameters nor memory that libraries allocate within an operation. A training step is a forward
pass in training mode, the mean of the squared outputs as the loss, and a backward pass. `saved` is the memory in use
after the forward pass: outputs, and tensors kept for the backward pass. 1 GB is 1e9 bytes. With --backbone, the network
is counted alone, without the neck and heads of a detector or segmenter; `mmvit benchmark` measures whole models.
"""
import json
from argparse import ArgumentParser, Namespace

from .arguments import add_size_argument, call, new_parser, positive
from .docstrings import explanation_of, with_help


def get_parser() -> ArgumentParser:
    parser = new_parser(f'{__doc__}\n{explanation_of("measuring.flops.count_flops")}')
    parser.add_argument('networks', nargs='+')
    add_size_argument(parser)
    parser.add_argument('--backbone', dest='task', action='store_const', const='backbone',
                        help='count only the backbone, with all its feature maps')
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    traffic = parser.add_argument_group('kernels, bytes and memory')
    traffic.add_argument('--traffic', action='store_true', help='count kernels, bytes moved and peak memory '
                         'of the network alone')
    traffic.add_argument('--batch-size', type=positive)
    traffic.add_argument('--dtype', choices=['bfloat16', 'float16', 'float32'])
    traffic.add_argument('--with-cp', action='store_const', const=True)
    return with_help(parser, 'measuring.flops.count_flops', 'measuring.flops.count_traffic')


def run(args: Namespace) -> None:
    from ..measuring import count_flops, count_traffic
    from ..utils.tables import as_markdown
    if args.traffic:
        rows = call(count_traffic, args, omit=('traffic', 'json'))
    else:
        rows = [row._asdict() for row in call(count_flops, args, 'without --traffic', omit=('traffic', 'json'))]
    print(json.dumps(rows, indent=1) if args.json else as_markdown(rows))
