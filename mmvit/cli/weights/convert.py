"""Converts the authors' weights to a folder for a hub, or to a single file.

    mmvit weights convert restv2_tiny --out restv2_tiny              # downloads the weights if necessary
    mmvit weights convert restv2_tiny/384 --out restv2_tiny_384      # weights with another tag
    mmvit weights convert checkpoints/model.pth --out reswin_tiny    # a file from the authors
    mmvit weights convert reswin_tiny --out reswin_tiny.safetensors --task backbone

A folder contains the classifier's weights (model.safetensors), and the config and the image processor of Hugging Face
Transformers. It can be uploaded to a hub, with a model card of your own.

A single file has mmpretrain's keys for a classifier (`backbone.*` and `head.fc.*`), and mmdet's or mmseg's keys for a
detector or segmenter. With --task backbone, it has only the backbone's weights, without a prefix. In a config, both
kinds of files are loaded by `init_cfg=dict(type='Pretrained', checkpoint=OUT)` in the backbone.
"""
from argparse import ArgumentParser, Namespace
from importlib.util import find_spec

from ..arguments import new_parser, output_file, output_folder

FILES = '.pth', '.safetensors'


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('source', metavar='NAME|FILE',
                        help="a network's published weights (NAME or NAME/TAG), or a path or URL of the authors' file")
    parser.add_argument('--out', type=output_of, required=True,
                        help='output folder, or output file that ends with .pth or .safetensors')
    parser.add_argument('--network',
                        help='network of a file (default: recognized by the names and shapes of the weights)')
    parser.add_argument('--tag', help='for a file that is converted to a folder: side of the training images in '
                                      "pixels, or 22k (default: the network's image size)")
    parser.add_argument('--task', choices=('classification', 'backbone'), default='classification',
                        help="for an output file: 'backbone' omits the classifier")
    return parser


def output_of(path: str) -> str:
    return output_file(path) if path.endswith(FILES) else output_folder(path)


def run(args: Namespace) -> None:
    from mmvit_backbones.errors import UsageError
    if args.out.endswith(FILES):
        from mmvit_backbones.zoo.convert import convert_weights
        print(convert_weights(args.source, args.out, args.network, args.task))
        return
    if args.task == 'backbone':
        raise UsageError(f'--task backbone is for a file that ends with {" or ".join(FILES)}, got --out {args.out}')
    if not find_spec('transformers'):
        raise UsageError('--out FOLDER needs Transformers: pip install transformers; or use --out FILE.safetensors')
    from mmvit_backbones.integrations.hub_folder import convert_to_folder
    print(convert_to_folder(args.source, args.out, args.network, args.tag))
