"""Converts the authors' weights, or those of a training, to a file for OpenMMLab.

    mmvit weights convert restv2_tiny --out restv2_tiny.pth              # downloads the weights if necessary
    mmvit weights convert restv2_tiny/384 --out restv2_tiny_384.pth      # weights with another tag
    mmvit weights convert checkpoints/model.pth --out reswin_tiny.pth    # a file from the authors
    mmvit weights convert reswin_tiny --out reswin_tiny.safetensors --task backbone
    mmvit weights convert work_dirs/vitaev2_small_detector --out detector.safetensors    # to be handed on

The file has mmpretrain's keys for a classifier (`backbone.*` and `head.fc.*`), and mmdet's or mmseg's keys for a
detector or segmenter. With --task backbone, it has only the backbone's weights, without a prefix. In a config, both
kinds of files are loaded by `init_cfg=dict(type='Pretrained', checkpoint=OUT)` in the backbone.
"""
from argparse import ArgumentParser, Namespace

from ..arguments import file_ending_with, new_parser


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('source', metavar='NAME|FILE|RUN',
                        help="a network's published weights (NAME or NAME/TAG), a path or URL of the authors' file, or "
                             'the work dir or a checkpoint of a training')
    parser.add_argument('--out', type=file_ending_with('.pth', '.safetensors'), required=True,
                        help='output file that ends with .pth or .safetensors')
    parser.add_argument('--prefix', help='prefix of the names in a file that holds several models, such as model_ema.')
    parser.add_argument('--task', choices=('classification', 'backbone'), default='classification',
                        help="'backbone' omits the classifier")
    return parser


def run(args: Namespace) -> None:
    from mmvit_backbones.zoo.convert import convert_weights

    from ...naming import resolve
    resolve(args.source, 'weights convert')
    print(convert_weights(args.source, args.out, args.prefix, args.task))
