"""Compares backbones on the same data, with the same head, recipe, image order and seeds.

    mmvit compare reswin_tiny restv2_tiny resnet50 --coco-folder FOLDER
    mmvit compare reswin_tiny timm:swin_tiny_patch4_window7_224 --seg-folder FOLDER --freeze all --epochs 20
    mmvit compare reswin_tiny vitaev2_small --class-folder FOLDER --no-pretrained    # from random weights
    mmvit compare reswin_tiny ablation.py --seg-folder FOLDER

A network is a name from `mmvit models`, resnet50 for mmdet's ResNet-50, timm:NAME, or a config whose model.backbone is
compared. The recipe is the fine-tuning recipe of `mmvit train NETWORK`. A second call continues a stopped comparison,
or adds networks and seeds.

Results, with all settings, are written to README.md and plot.png in the output folder.
"""
from argparse import ArgumentParser, Namespace

from ..fine_tuning import COMPARED
from ..utils.limits import COUNT
from .arguments import add_fine_tuning_arguments, given_options, new_parser, output_folder
from .docstrings import with_help


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('networks', nargs='+', metavar='NETWORK',
                        help='name from mmvit models, resnet50, timm:NAME, or a config with a backbone')
    add_fine_tuning_arguments(parser, COMPARED)
    parser.add_argument('--seeds', type=COUNT, default=3, metavar='N')
    parser.add_argument('--out', type=output_folder, default='compare', metavar='FOLDER')
    return with_help(parser, 'comparing.comparison.compare', 'fine_tuning.FineTuning')


def run(args: Namespace) -> None:
    from ..comparing import compare
    result = compare(**given_options(args))
    print(f'\n{result}\nwritten: {result.out}/README.md, {result.out}/plot.png')
