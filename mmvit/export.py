"""Exports a trained model with its preprocessing, or a network by name, to ONNX, and compares the file with PyTorch.

    mmvit export RUN model.onnx                         the best checkpoint of a training, by its work dir
    mmvit export CHECKPOINT model.onnx
    mmvit export model.onnx --config imagenet_reswin_t --pretrained
    mmvit export NETWORK [CHECKPOINT] [network.onnx]    a network that returns feature maps or logits

The config of a checkpoint is the one that the training saved beside it, or --config. Inputs and outputs of the files:

- classifier: `images` (batch, height, width, 3), RGB uint8 of any size -> `scores`
- segmenter: `images` as for a classifier -> `segmentation`
- detector: `image` (height, width, 3), RGB uint8 of any size -> `labels`, `scores`, `boxes` and, if it predicts masks,
  `masks`, in pixels of the image
- network: `images` (batch, 3, height, width), normalized -> `map0`, `map1`, ..., or `logits`

For models, the metadata of the file and FILE.json also describe inputs and outputs.
"""
from argparse import ArgumentParser

from .arguments import add_config_options, add_pretrained_argument, new_parser, pixels, whole


def get_parser() -> ArgumentParser:
    parser = new_parser(
        __doc__,
        usage='mmvit export [options] RUN|CHECKPOINT FILE\n'
              '       mmvit export [options] NETWORK [CHECKPOINT] [FILE]')
    parser.add_argument('words', nargs='+', metavar='NETWORK, CHECKPOINT, FILE',
                        help='name of a network listed by mmvit models; checkpoint, or the work dir of a training '
                             '(default for a network: random weights); file to write (default for a network: '
                             'NETWORK.onnx)')
    add_pretrained_argument(parser)
    network = parser.add_argument_group('networks')
    network.add_argument('--task', choices=('classification', 'backbone'), default='backbone',
                         help='export the classifier or only its backbone (default: %(default)s)')
    network.add_argument('--opset', type=whole(1, 100), default=18,
                         help='version of the ONNX operators, at least 18 (default: %(default)s)')
    network.add_argument('--size', type=pixels, nargs=2, metavar=('H', 'W'),
                         help='export for images of this size in pixels only (default: for all sizes)')
    model = parser.add_argument_group('models')
    model.add_argument('--config', help='config file, or the name of a config in this package (default: the '
                                    'config that the training saved beside the checkpoint)')
    model.add_argument('--preprocessing', choices=('inside', 'outside'), default='inside',
                       help='whether the file includes the preprocessing (default: %(default)s); if outside, it '
                            'takes preprocessed images (batch, 3, height, width), one at a time for detectors, and '
                            'boxes and masks are in pixels of the preprocessed images')
    model.add_argument('--images', nargs='+', metavar='IMAGE',
                       help='image files or folders; 8 images are used to compare the file with '
                            'PyTorch (default: the test set, if it exists; else the folder of --int8, else generated '
                            'images)')
    model.add_argument('--accept-loss', action='store_true',
                       help='write the file even if its predictions differ too much from PyTorch')
    model.add_argument('--license', default='not stated', help='license of the weights, for the metadata of the file')
    precision = model.add_mutually_exclusive_group()
    precision.add_argument('--fp16', action='store_true', help='export the network in float16')
    precision.add_argument('--int8', metavar='FOLDER',
                           help='quantize to int8, calibrated on the images in FOLDER; refused if the metric of the '
                                'test set falls by more than 1 %%')
    add_config_options(parser)
    parser.set_defaults(default_of=parser.get_default)  # tells which options were given
    return parser
