"""Measures the time and memory of networks relative to a baseline.

    mmvit benchmark vitaev2_small reswin_tiny       classification, 224 x 224, batch 4
    mmvit benchmark vitaev2_small --dense           backbone for dense prediction, 448 x 672, batch 1
    mmvit benchmark vitaev2_small --baseline reswin_tiny
    mmvit benchmark reswin_tiny --baseline mmpretrain:swin-tiny_16xb64_in1k
    mmvit benchmark 'rest*' --throughput 224 384    images per second
    mmvit benchmark rest_lite timm:swin_tiny_patch4_window7_224 --runtime eager onnxruntime openvino
    mmvit benchmark work_dirs/mask_rcnn_reswin_t --runtime eager onnxruntime openvino-bf16 int8    a whole model

Without --runtime, the output is JSON with these figures for each network; smaller is better:

- `forward`: time of a forward pass in evaluation mode without gradients, relative to the baseline
- `train_step`: time of forward and backward pass in training mode, relative to the baseline
- `saved_bytes_per_image`: bytes that autograd saves for the backward pass, without parameters and buffers
- `saved_ratio`: saved bytes relative to the baseline

The network and the baseline are timed alternately, and each relative time is the median of --repeats ratios.

With --throughput, the output has the images per second of each network and image side.

With --runtime, the output is a table in Markdown, and with --csv also a CSV file: the size of the exported file, the
largest deviation of the outputs from eager PyTorch, ms for one image, images per second in a batch, how many times as
fast one image is as in the first runtime, and by how much the process grew. For a checkpoint, these are figures of the
whole model, from images to results, with the main metric of the config's test set.
"""
from argparse import ArgumentParser, Namespace

from .arguments import (
    ConfigOptions,
    add_size_argument,
    call,
    new_parser,
    output_file,
    pixels,
    positive,
    whole,
)
from .docstrings import with_help


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('networks', nargs='+', help='names listed by mmvit models, or shell patterns; with --runtime '
                                                    'also timm:NAME, mmpretrain:NAME, and checkpoints (.pth) or work '
                                                    'dirs of trainings')
    parser.add_argument('--baseline')
    parser.add_argument('--override', nargs='+', action=ConfigOptions, metavar='ARGUMENT=VALUE',
                        help='override arguments of the measured backbones, e.g. window_size=14 peg=True')
    parser.add_argument('--dense', action='store_const', const=True)
    add_size_argument(parser)
    parser.add_argument('--batch-size', type=positive)
    parser.add_argument('--repeats', type=positive)
    parser.add_argument('--threads', type=whole(1, 1024))
    parser.add_argument('--device')
    parser.add_argument('--memory-only', action='store_const', const=True)
    parser.add_argument('--throughput', type=pixels, nargs='+', metavar='SIZE',
                        help='measure images per second on square images with these sides, in pixels')
    parser.add_argument('--runtime', nargs='+', dest='runtimes',
                        choices=('eager', 'compile', 'onnxruntime', 'openvino', 'openvino-bf16', 'int8'))
    parser.add_argument('--config')
    parser.add_argument('--images', nargs='+', metavar='IMAGE')
    parser.add_argument('--csv', type=output_file, metavar='FILE', help='also write the table of --runtime to a file')
    return with_help(parser, 'analysis.speed.benchmark', 'analysis.speed.measure_throughput',
                     'analysis.speed.compare_runtimes')


def run(args: Namespace) -> None:
    import json

    from ..analysis import benchmark, compare_runtimes, measure_throughput
    if args.runtimes:
        table = call(compare_runtimes, args, 'with --runtime', omit=['csv'])
        print(table)
        if args.csv:
            table.save(args.csv)
    elif args.throughput:
        print(json.dumps(call(measure_throughput, args, 'with --throughput'), indent=1))
    else:
        print(call(benchmark, args, 'without --runtime'))
