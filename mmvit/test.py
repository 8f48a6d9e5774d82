"""Tests a checkpoint of a classifier, detector or segmenter, or an exported file.

    mmvit test work_dirs/mask_rcnn_reswin_t              # the best checkpoint of a training, with its config
    mmvit test mask_rcnn_reswin_t work_dirs/mask_rcnn_reswin_t/epoch_12.pth --coco-folder data/coco_mini
    mmvit test imagenet_reswin_t --pretrained --processes 8
"""
from argparse import ArgumentParser

from .arguments import (
    add_data_arguments,
    add_pretrained_argument,
    add_run_arguments,
    add_size_argument,
    finite,
    new_parser,
    output_file,
    output_folder,
)


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('config', metavar='RUN|CONFIG|NETWORK',
                        help='work dir of a training, or one of its checkpoints; or a config file, the name of a '
                             'config in this package, or a name from mmvit models that was trained by name')
    parser.add_argument('checkpoint', nargs='?',
                        help="checkpoint file or http(s) URL (classifiers: also in the authors' layout), or a file "
                             'written by mmvit export')
    add_pretrained_argument(parser)
    add_size_argument(parser)
    add_data_arguments(parser)
    parser.add_argument('--out', type=output_of,
                        help='where to save the predictions: a .pkl file, or for mmseg a folder of label images')
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument('--show-dir', type=output_folder,
                        help='folder for drawings of the annotations and the predictions')
    parser.add_argument('--wait-time', type=finite(0), default=2,
                        help='seconds per image with --show (default: %(default)s)')
    parser.add_argument('--tta', action='store_true', help='use test-time augmentation')
    parser.add_argument('--real', nargs='?', const='data/imagenet/real.json', metavar='FILE',
                        help="also test a classifier on ImageNet's reassessed labels, ReaL (default: %(const)s)")
    add_run_arguments(parser)
    parser.set_defaults(needs=('model', 'test_dataloader', 'test_cfg', 'test_evaluator'))
    return parser


def output_of(path: str) -> str:
    return output_file(path) if path.endswith(('.pkl', '.pickle')) else output_folder(path)
