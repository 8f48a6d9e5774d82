"""Shows the predictions of models on a web page, with Gradio.

    mmvit serve CHECKPOINT
    mmvit serve model.onnx
    mmvit serve FIRST SECOND    # side by side

Only this machine can open the page, unless --host is given.
"""
from argparse import ArgumentParser, Namespace

from ..utils.limits import Limits
from .arguments import add_runtime_arguments, new_parser
from .docstrings import with_help


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('models', nargs='+', metavar='MODEL')
    parser.add_argument('--config', nargs='+', default=[],
                        help='one config file or name per model, in the same order (default: the configs in their work '
                             'dirs)')
    parser.add_argument('--host', default='127.0.0.1')
    parser.add_argument('--port', type=Limits(1, 65535), default=7860)
    parser.add_argument('--device')
    add_runtime_arguments(parser)
    return with_help(parser, 'inference.serving.serve')


def run(args: Namespace) -> None:
    from ..inference.serving import serve
    serve(args.models, host=args.host, port=args.port, configs=args.config,
          device=args.device, runtime=args.runtime, precision=args.precision)
