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
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path

from .arguments import add_config_options, add_pretrained_argument, add_size_argument, call, new_parser, whole
from .docstrings import with_help


def get_parser() -> ArgumentParser:
    parser = new_parser(
        __doc__,
        usage='mmvit export [options] RUN|CHECKPOINT FILE\n'
              '       mmvit export [options] NETWORK [CHECKPOINT] [FILE]')
    parser.add_argument('names', nargs='+', metavar='NETWORK, CHECKPOINT, FILE',
                        help='name of a network listed by mmvit models; checkpoint, or the work dir of a training '
                             '(default for a network: random weights); file to write (default for a network: '
                             'NETWORK.onnx)')
    add_pretrained_argument(parser)
    network = parser.add_argument_group('networks')
    network.add_argument('--task', choices=('classification', 'backbone'), default='backbone',
                         help='export the classifier or only its backbone (default: %(default)s)')
    network.add_argument('--opset', type=whole(1, 100), default=18)
    add_size_argument(network)
    parser.add_argument('--allow-accuracy-drop', action='store_true')
    model = parser.add_argument_group('models')
    model.add_argument('--config')
    model.add_argument('--preprocessing', choices=('inside', 'outside'), default='inside',
                       help='whether the file includes the preprocessing (default: %(default)s); if outside, it '
                            'takes preprocessed images (batch, 3, height, width), one at a time for detectors, and '
                            'boxes and masks are in pixels of the preprocessed images')
    model.add_argument('--images', nargs='+', default=(), metavar='IMAGE')
    precision = model.add_mutually_exclusive_group()
    precision.add_argument('--fp16', action='store_true')
    precision.add_argument('--int8', metavar='FOLDER')
    add_config_options(parser)
    return with_help(parser, 'deployment.exporting.export_model')


def run(args: Namespace) -> None:
    from ..deployment import export_model
    model, args.checkpoint, args.path = read_names(args.names)
    args.preprocessing = args.preprocessing == 'inside'
    print(call(partial(export_model, model), args, omit=['names']))


def read_names(names: list[str]) -> tuple[str | None, str | None, Path]:
    """Returns the network or trained model, the weights of the network, None if not given, and the file to write."""
    from mmvit_backbones.errors import UsageError

    from ..configs.files import is_config, path_hint
    from ..deployment.exporting import is_network
    names = list(names)
    path = Path(names.pop()) if names[-1].endswith('.onnx') else None
    if names and is_config(names[0]):
        raise UsageError(f'{names[0]} is a config: pass it as --config {names[0]}{path_hint(names[0])}')
    model = names.pop(0) if names else None
    network = model if model and is_network(model) else None
    checkpoint = names.pop(0) if network and names else None
    if names:
        raise UsageError(f'the file to write must end with .onnx, got {names[0]}')
    if not path and not network:
        raise UsageError(f'pass the file to write, e.g. mmvit export {model} model.onnx')
    return model, checkpoint, path or Path(f'{network}.onnx')
