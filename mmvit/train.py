"""Trains the classifier, detector or segmenter of a config.

    mmvit train reswin_tiny --coco-folder FOLDER
    mmvit train mask_rcnn_reswin_t --coco-folder data/coco_mini
    mmvit train configs/upernet_reswin_t.py --processes 8 --amp
    mmvit train upernet_reswin_t --resume --cfg-options train_dataloader.num_workers=8
"""
from argparse import ArgumentParser

from .arguments import (
    add_data_arguments,
    add_pretrained_argument,
    add_run_arguments,
    add_size_argument,
    new_parser,
    positive,
    rate,
    whole,
)


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('config', metavar='CONFIG_OR_NETWORK',
                        help='config file, the name of a config in this package, or a name from mmvit models, which '
                             'fine-tunes the network on --class-folder, --coco-folder or --seg-folder')
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument('--amp', action='store_const', const='float16', dest='precision',
                           help='train with mixed precision in float16')
    precision.add_argument('--bf16', action='store_const', const='bfloat16', dest='precision',
                           help='train with mixed precision in bfloat16')
    precision.add_argument('--no-amp', action='store_const', const='float32', dest='precision',
                           help='train in float32 (default: the precision of the config; float32 on a CPU)')
    parser.add_argument('--batch-size', type=positive, help="images per process and step (default: the config's)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument('--epochs', type=positive,
                        help="number of epochs; the whole schedule is scaled to it (default: the config's; for a "
                             'network 100, less for more than 1000 images)')
    length.add_argument('--iters', type=positive,
                        help='number of iterations, for configs with max_iters; the whole schedule is scaled to it')
    parser.add_argument('--lr', type=rate, metavar='RATE',
                        help='peak learning rate; the whole schedule is scaled to it; auto multiplies the rate of the '
                             'config by images per update / images per update of the recipe')
    parser.add_argument('--early-stop', type=positive, metavar='N',
                        help='stop after N evaluations without a better result')
    parser.add_argument('--freeze', type=whole(0), metavar='N', help='freeze the stem and the first N stages')
    parser.add_argument('--resume', nargs='?', const='newest', metavar='CHECKPOINT',
                        help='resume from this checkpoint (default: the newest one in the work dir); "auto" '
                             'starts a new run if there is no checkpoint')
    parser.add_argument('--strategy', choices=['ddp', 'fsdp'], default='ddp',
                        help='ddp replicates the weights in all processes (default); fsdp shards them, for models that '
                             'do not fit on one GPU')
    parser.add_argument('--tensorboard', action='store_true', help='also log to TensorBoard')
    parser.add_argument('--wandb', action='store_true', help='also log to Weights & Biases')
    weights = parser.add_mutually_exclusive_group()
    add_pretrained_argument(weights)
    weights.add_argument('--no-pretrained', action='store_true', help='start from random weights')
    add_size_argument(parser)
    add_data_arguments(parser)
    add_run_arguments(parser)
    parser.add_argument('--plain', action='store_true', help='add no hooks and wrappers to the config')
    parser.set_defaults(needs=('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'))
    return parser
